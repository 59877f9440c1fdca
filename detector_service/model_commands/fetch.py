"""``detector models fetch``: public weights by name, or any by address and SHA-256."""

from pathlib import Path

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.output import Output
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from detector_service.model_commands import catalogue, fetching
from detector_service.model_commands.catalogue import Source


def run(what: str, sha256: str, folder: Path, *, as_json: bool) -> None:
    """Fetch a file into a folder, unless it is there.

    Raises:
        Failure: it did not come, holds something else, or cannot be written.
    """
    output = Output(as_json=as_json)
    source = _source(what, sha256)
    target = folder / source.file_name
    columns = (TextColumn(source.file_name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=output.errors, disable=not output.may_draw, transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        try:
            fetched = fetching.fetch(
                source, target, lambda there, total: bar.update(task, completed=there, total=total)
            )
        except fetching.OfflineError as error:
            raise Failure(str(error), ExitCode.UNAVAILABLE) from error
        except fetching.FetchError as error:
            raise Failure(str(error), ExitCode.MODEL) from error
        except OSError as error:
            raise Failure(
                f"{of_file(error, target)}; what has come is kept, and the same command goes on from there",
                ExitCode.OUTPUT,
            ) from error
    if output.for_people:
        verb = "is there" if fetched else "was there before"
        output.tell(
            f"{target} {verb}, with the right SHA-256; set BODY_MODEL_PATH or FACE_MODEL_PATH to it"
        )
    else:
        output.line({"path": str(target), "sha256": source.sha256, "fetched": fetched})


def _source(what: str, sha256: str) -> Source:
    known = catalogue.known()
    if what in known:
        if sha256 and sha256.lower() != known[what].sha256:
            raise Failure(
                f"--sha256 {sha256}: not that of {what}, {known[what].sha256}", ExitCode.USAGE
            )
        return known[what]
    if "://" not in what:
        raise Failure(
            f"{what}: no model of this name is known; there are {', '.join(known)}, and any https:// address",
            ExitCode.USAGE,
        )
    if not sha256:
        raise Failure(
            f"{what}: of an address the SHA-256 must be given, --sha256 HEX: weights are run, and so must "
            "be those that are meant",
            ExitCode.USAGE,
        )
    try:
        return Source.of(what, sha256)
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
