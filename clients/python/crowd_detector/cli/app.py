"""The commands and their flags; what they do is in the modules that they name."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.main import get_command

from crowd_detector.cli import completion, native_logs, standard_files
from crowd_detector.cli.completion import Shell, script
from crowd_detector.cli.encoding_names import Encoding
from crowd_detector.cli.exit_codes import ExitCode, table
from crowd_detector.cli.failures import Failure, of_file, of_service
from crowd_detector.cli.flags import AsJson
from crowd_detector.cli.models import models
from crowd_detector.cli.options import Connection, connected
from crowd_detector.cli.printable import printable
from crowd_detector.errors import DetectorError
from crowd_detector.frames import DetectionSettings

#: Set to 1, it shows where in the code a command failed.
DEBUG_VARIABLE: Final = "DETECTOR_DEBUG"
EPILOG: Final = "Exit codes:\n\n\b\n" + table()

app: Final = typer.Typer(
    name="detector",
    help="Finds faces and people in images, videos and cameras, and says how crowded it is. "
    "Asks a running service: start one with `detector-service`.",
    epilog=EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Confidence = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        metavar="NUMBER",
        show_default=False,
        help="Leave out what scores no more than this.",
    ),
]
CrowdThreshold = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1_000_000,
        metavar="NUMBER",
        show_default=False,
        help="Warn where more people than this are seen.",
    ),
]


@app.callback(invoke_without_command=True)
def detector(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Say which version this is, and exit.")
    ] = False,
) -> None:
    """Answer for all commands."""
    if show_version:
        typer.echo(f"crowd-detector {version('crowd-detector')}")
        raise typer.Exit


@app.command()
@connected
def detect(
    connection: Connection,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Images, folders, patterns, or - for standard input.",
        ),
    ],
    *,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            file_okay=False,
            help="Write annotated images below this folder.",
        ),
    ] = None,
    as_json: AsJson = False,
    confidence: Confidence = None,
    crowd_threshold: CrowdThreshold = None,
) -> None:
    """Look at images: JPEG, PNG and WebP.

    Folders are searched, with those in them, for names that end in .jpg, .jpeg, .png or .webp.

    \b
      detector detect photo.jpg
      detector detect photos/ --save annotated/
      detector detect 'photos/**/*.jpg' --json
      curl -s https://example.com/photo.jpg | detector detect -
    """  # noqa: D301 - not to be wrapped
    from crowd_detector.cli import detect as command  # noqa: PLC0415 - what the others do not need

    settings = DetectionSettings(confidence, crowd_threshold)
    command.run(connection, command.Options(paths, settings, save, as_json))


@app.command()
@connected
def stream(
    connection: Connection,
    source: Annotated[
        str,
        typer.Argument(
            show_default=False,
            help="A video file, a camera (0, camera:0, /dev/video0), an address (rtsp://, http://), "
            "screen, or - for standard input.",
        ),
    ],
    *,
    save: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            metavar="FOLDER",
            file_okay=False,
            help="Write the annotated video into this folder (MP4, no sound).",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw a chart of the people seen, as it goes.")
    ] = False,
    as_json: AsJson = False,
    max_fps: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="NUMBER",
            help="Look at so many frames a second at most; 0 means all.",
        ),
    ] = 0.0,
    encoding: Annotated[
        Encoding,
        typer.Option(
            metavar="auto|jpeg|raw",
            help="What is sent: raw pixels, JPEG, or raw where the service is on this machine.",
        ),
    ] = Encoding.AUTO,
    priority: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            metavar="NUMBER",
            help="Its share of a service that has more to do than it can, beside streams of priority 10; "
            "0 means 10 too.",
        ),
    ] = 0,
    max_age: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=3600.0,
            metavar="SECONDS",
            show_default=False,
            help="Drop frames whose answers would come later than this after them.",
        ),
    ] = None,
    confidence: Confidence = None,
    crowd_threshold: CrowdThreshold = None,
) -> None:
    """Look at a video, a camera, an address or the screen.

    Of a file, every frame is answered. Of what is live, the newest frame is looked at, and those that the
    service has no time for are dropped and counted. Ctrl-C ends it; what was saved until then is valid.

    \b
      detector stream walk.mp4 --save annotated/
      detector stream 0 --watch
      detector stream rtsp://camera.local/stream --json --max-fps 5
    """  # noqa: D301 - not to be wrapped
    from crowd_detector.cli import stream as command  # noqa: PLC0415 - what the others do not need

    settings = DetectionSettings(confidence, crowd_threshold)
    command.run(
        connection,
        command.Options(
            source, settings, save, as_json, watch, max_fps, encoding, priority, max_age
        ),
    )


app.add_typer(models)


@app.command()
@connected
def stats(connection: Connection, *, as_json: AsJson = False) -> None:
    """Say what the service has done since it started."""
    from crowd_detector.cli import questions  # noqa: PLC0415

    questions.stats(connection, as_json=as_json)


@app.command()
@connected
def health(connection: Connection, *, as_json: AsJson = False) -> None:
    """Say whether the service serves; exit code 3 unless it does."""
    from crowd_detector.cli import questions  # noqa: PLC0415

    questions.health(connection, as_json=as_json)


@app.command("completion")
def completion_script(shell: Annotated[Shell, typer.Argument(show_default=False)]) -> None:
    """Print a shell's completion script.

    \b
      detector completion bash >> ~/.bashrc
      detector completion zsh > "${fpath[1]}/_detector"
      detector completion fish > ~/.config/fish/completions/detector.fish
    """  # noqa: D301 - not to be wrapped
    typer.echo(script(shell))


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code. Every failure is one sentence on the standard error."""
    standard_files.open_missing()
    if completion.VARIABLE in os.environ:
        completion.answer()
    debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    with nullcontext() if debug else native_logs.hidden():
        try:
            command = get_command(app)
            return (
                command.main(
                    list(arguments) or ["--help"], prog_name="detector", standalone_mode=False
                )
                or ExitCode.OK
            )
        except SystemExit as end:  # the answer to a shell, or what typer makes of a closed pipe
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            failure = _failure(end.__context__)
        except Exception as error:  # noqa: BLE001 - what it means for people is said
            if debug:
                traceback.print_exception(error)
            failure = _failure(error)
        if str(failure):
            _complain(str(failure))
        if failure.code in (ExitCode.PIPE_CLOSED, ExitCode.OUTPUT):
            _forget_output()
        return failure.code


def _failure(error: Exception) -> Failure:
    """Return what an exception means for people."""
    match error:
        case Failure():
            return error
        case DetectorError():
            return of_service(error)
        case BrokenPipeError():
            return Failure("", ExitCode.PIPE_CLOSED)
        case OSError():  # files that are named are seen to where they are used
            sentence = of_file(error, error.filename or "standard output")
            return Failure(sentence, ExitCode.OUTPUT)
        case typer.TyperException():  # wrong usage
            words = error.format_message().replace("Value error, ", "").rstrip(".")
            sentence = f"{words}; see `detector --help`"
            return Failure(sentence, ExitCode.USAGE)
    what = "".join(traceback.format_exception_only(error)).strip()
    sentence = f"a mistake in this program: {what}; {DEBUG_VARIABLE}=1 shows where"
    return Failure(sentence, ExitCode.BUG)


def _complain(sentence: str) -> None:
    with suppress(OSError):
        print(f"detector: {printable(sentence)}", file=sys.stderr)


def _forget_output() -> None:
    """Have the interpreter's end not write once more to where nothing can be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
