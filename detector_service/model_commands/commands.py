"""The commands' flags; what they do is in the modules that they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.flags import AsJson

from detector_service.errors import ConfigurationError, ModelError
from detector_service.model_commands.formats import Format

commands: Final = typer.Typer(rich_markup_mode=None)

ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", show_default=False, help="The model's file, or OpenVINO folder."
    ),
]
OptionalModelPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        show_default=False,
        help="The model's file, or OpenVINO folder. Default: the models that would serve.",
    ),
]
To = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", show_default=False, file_okay=False, help="Where to put it."),
]


@contextmanager
def _at_work() -> Iterator[None]:
    """Say what went wrong with a model as the command line does.

    Raises:
        Failure: it did.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(
            f"this works on the files of models, and needs the service installed ({error.name} is missing): "
            "pip install 'crowd-detector[cli,service]'",
            ExitCode.USAGE,
        ) from error
    except ConfigurationError as error:
        raise Failure("; ".join(str(error).splitlines()), ExitCode.USAGE) from error
    except ModelError as error:
        raise Failure(str(error), ExitCode.MODEL) from error
    except OSError as error:
        raise Failure(of_file(error, error.filename or "the disk"), ExitCode.OUTPUT) from error


@commands.command("list")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models that are configured, what was built of them, and the names that `fetch` knows.

    This and the commands below work on this machine's files with the settings that a service started here would
    have (docs/configuration.md); they ask no service.
    """
    with _at_work():
        from detector_service.model_commands import listing, surroundings  # noqa: PLC0415

        listing.run(surroundings.look(), as_json=as_json)


@commands.command()
def info(path: ModelPath, *, as_json: AsJson = False) -> None:
    """Say what a model's file holds, and what would run it here."""
    with _at_work():
        from detector_service.model_commands import inspection, surroundings  # noqa: PLC0415

        inspection.run(path, surroundings.look(), as_json=as_json)


@commands.command()
def verify(
    path: OptionalModelPath = None,
    *,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Another photograph than the one that ships."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a photograph through every engine here that runs the model, and compare; exit code 1 where they differ.

    They are compared with PyTorch at 32 bits, or, where it is missing or the file is not its own, with OpenVINO. At
    32 bits boxes may be 1 pixel and 0.005 in confidence apart; in fewer, 98 % must overlap to 90 %.
    """
    with _at_work():
        from detector_service.model_commands import surroundings, verification  # noqa: PLC0415

        verification.run(path, image, surroundings.look(), as_json=as_json)


@commands.command()
def export(
    path: ModelPath,
    *,
    kind: Annotated[
        Format,
        typer.Option(
            "--format", metavar="openvino|onnx|engine", show_default=False, help="The kind of file."
        ),
    ],
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Write weights (.pt) as OpenVINO or ONNX, or, with ONNX too, as a TensorRT engine for the GPU that is here.

    The result lies beside the weights, under the name that Ultralytics would give it. A service needs none of
    this: it exports by itself.

    \b
      detector models export best.pt --format openvino
    """  # noqa: D301 - not to be wrapped
    with _at_work():
        from detector_service.model_commands import exporting, surroundings  # noqa: PLC0415

        exporting.run(path, kind, to, surroundings.look(), as_json=as_json)


@commands.command()
def bench(
    path: OptionalModelPath = None,
    *,
    batch: Annotated[
        str,
        typer.Option(metavar="NUMBERS", help="How many images at once, as in 1,2,4,8."),
    ] = "1,2,4,8",
    seconds: Annotated[
        float, typer.Option(metavar="NUMBER", min=0.1, help="How long each is timed.")
    ] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Time every engine here that runs the model: latency and throughput, for so many images at once.

    A GPU looks at them as one batch, a processor at each by itself, side by side.
    """
    try:
        batches = [int(text) for text in batch.split(",")]
    except ValueError:
        batches = []
    if not batches or not all(1 <= number <= 256 for number in batches):  # noqa: PLR2004 - as ENGINE_BATCH
        raise Failure(f"--batch {batch}: numbers from 1 to 256 with commas between", ExitCode.USAGE)
    with _at_work():
        from detector_service.model_commands import surroundings, timing  # noqa: PLC0415

        timing.run(path, batches, seconds, surroundings.look(), as_json=as_json)


@commands.command()
def fetch(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            help="A name that `list` gives, or an address (https://).",
        ),
    ],
    *,
    sha256: Annotated[
        str,
        typer.Option(
            metavar="HEX", show_default=False, help="What an address must hold; names know theirs."
        ),
    ] = "",
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Fetch public weights, and keep them only if their SHA-256 is the one that is known.

    They are put into ./models, or where --to says. What was interrupted goes on where it ended. Nothing else in this
    project ever fetches a model. The names are those of Ultralytics' releases, trained on COCO, for BODY_MODEL_PATH.

    \b
      detector models fetch yolo12n
      detector models fetch https://example.com/face.pt --sha256 0123...
    """  # noqa: D301 - not to be wrapped
    with _at_work():
        from detector_service.model_commands import fetch as command  # noqa: PLC0415

        command.run(what, sha256, to or Path("models"), as_json=as_json)
