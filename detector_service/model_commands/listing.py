"""``detector models list``: which models there are, here and to be fetched."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crowd_detector.cli.output import Output
from crowd_detector.cli.printable import printable
from crowd_detector.cli.tables import bare_table

from detector_service.builds import cache
from detector_service.detection.model_files import Choice, embedded_model
from detector_service.model_commands import catalogue
from detector_service.model_commands.surroundings import Surroundings


def run(here: Surroundings, *, as_json: bool) -> None:
    """List the models that are configured, the one that ships, what was built of them, and what can be fetched."""
    output = Output(as_json=as_json)
    choices = (here.settings.face_model, here.settings.body_model)
    models = [*map(_configured, choices), _embedded()]
    builds = list(_builds({choice.path for choice in choices} | {embedded_model()}))
    names = [
        {"kind": "fetchable", "name": name, "url": source.url, "sha256": source.sha256}
        for name, source in catalogue.known().items()
    ]
    if not output.for_people:
        for record in (*models, *builds, *names):
            output.line(record)
        return
    table = bare_table("model", "file", "", "MiB")
    for each in models:
        state = (
            ""
            if each["exists"]
            else "not there; the embedded one serves"
            if not each["set"]
            else "not there"
        )
        table.add_row(each["name"], printable(each["path"]), state, _mebibytes(each["bytes"]))
    output.show(table)
    if builds:
        table = bare_table("built", "folder", "last used", "MiB")
        for each in builds:
            table.add_row(
                each["name"],
                printable(each["path"]),
                each["last_used"][:10],
                _mebibytes(each["bytes"]),
            )
        output.show(table)
    output.tell(
        f"`detector models fetch NAME` fetches: {', '.join(each['name'] for each in names)}"
    )


def _configured(choice: Choice) -> dict[str, Any]:
    size = _size(choice.path)
    return {
        "kind": "configured",
        "name": choice.variable,
        "path": str(choice.path),
        "set": choice.was_set,
        "exists": size is not None,
        "bytes": size or 0,
    }


def _embedded() -> dict[str, Any]:
    path = embedded_model()
    size = _size(path)
    return {
        "kind": "embedded",
        "name": "embedded",
        "path": str(path),
        "set": False,
        "exists": size is not None,
        "bytes": size or 0,
    }


def _builds(models: set[Path]) -> Iterator[dict[str, Any]]:
    for root in sorted({root for model in models for root in cache.roots(model)}):
        for build in cache.kept(root):
            yield {
                "kind": "build",
                "name": build.path.name,
                "path": str(build.path.parent),
                "bytes": build.size,
                "last_used": datetime.fromtimestamp(build.last_used, UTC).isoformat(
                    timespec="seconds"
                ),
            }


def _size(path: Path) -> int | None:
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        return path.stat().st_size
    except OSError:
        return None


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f}" if size else ""
