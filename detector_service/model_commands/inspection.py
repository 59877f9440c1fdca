"""``detector models info``: what a model's file is, and what would run it here."""

from pathlib import Path

from crowd_detector.cli.output import Output
from crowd_detector.cli.printable import printable
from crowd_detector.cli.tables import bare_table

from detector_service.detection import model_files
from detector_service.engines import selection
from detector_service.model_commands import surroundings
from detector_service.model_commands.surroundings import Surroundings


def run(path: Path, here: Surroundings, *, as_json: bool) -> None:
    """Say what a file holds.

    Raises:
        ModelError: it is no model for detection, or nothing here would run it.
    """
    output = Output(as_json=as_json)
    file = surroundings.given(path)
    described = surroundings.metadata(file, here)
    chosen = selection.select(
        here.settings.engine, file.path, file.ending, here.settings.gpu, here.machine
    )
    roles = sorted(surroundings.roles_of(described))
    record = {
        "path": str(file.path),
        "format": file.format,
        "task": "detect",
        "classes": list(described.classes),
        "finds": roles,
        "input_size": described.input_size,
        "stride": described.stride,
        "end_to_end": described.end_to_end,
        "sha256": model_files.content_hash(file.path),
        "engine": chosen.engine,
        "engine_reason": chosen.reason,
        "precision": surroundings.precision(chosen.engine, here),
    }
    if not output.for_people:
        output.line(record)
        return
    table = bare_table()
    table.show_header = False
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {
        "file": record["path"],
        "format": record["format"],
        "task": "detect" + (" (no NMS needed)" if described.end_to_end else ""),
        "finds": " and ".join({"face": "faces", "body": "people"}[role] for role in roles),
        "classes": f"{len(described.classes)}: {', '.join(described.classes)}",
        "input": f"{described.input_size} pixels, stride {described.stride}",
        "SHA-256": record["sha256"],
        "runs with": f"{chosen.engine} at {record['precision']} ({chosen.reason})",
    }
    for name, value in rows.items():
        table.add_row(name, printable(str(value)))
    output.show(table)
