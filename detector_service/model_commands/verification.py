"""``detector models verify``: whether every engine here finds the same in a photograph."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.output import Output
from crowd_detector.cli.tables import bare_table

from detector_service.detection.detector import Boxes, Detector
from detector_service.detection.model_files import ModelFile, embedded_photograph
from detector_service.errors import FrameRefused
from detector_service.frames import encoded
from detector_service.frames.pixels import Image
from detector_service.model_commands import surroundings
from detector_service.model_commands.comparison import Comparison, compare
from detector_service.model_commands.surroundings import Surroundings, Way

#: Ultralytics' default for `predict`.
_THRESHOLD: Final = 0.25


def run(path: Path | None, image: Path | None, here: Surroundings, *, as_json: bool) -> None:
    """Run a photograph through each engine, and compare what they find with the first.

    Raises:
        Failure: they differ, or the photograph cannot be used.
        ModelError: a model cannot be loaded.
    """
    output = Output(as_json=as_json)
    pixels = _photograph(image or embedded_photograph(), here)
    records = [
        record for file in surroundings.files(path, here) for record in _verify(file, pixels, here)
    ]
    if output.for_people:
        _show(output, records)
    else:
        for record in records:
            output.line(record)
    compared = [record for record in records if record["agrees"] is not None]
    if not compared:
        output.say(
            "there is one engine here that runs it, and so nothing to compare with; with the weights (.pt), and "
            "`pip install 'crowd-detector[service,torch]'`, PyTorch is another"
        )
    if unlike := [_name(record) for record in compared if not record["agrees"]]:
        raise Failure(
            f"{', '.join(unlike)} does not find what {_name(records[0])} finds", ExitCode.FRAMES
        )


def _photograph(path: Path, here: Surroundings) -> Image:
    try:
        return encoded.decode(path.read_bytes(), max_pixels=here.settings.max_image_pixels)
    except OSError as error:
        raise Failure(of_file(error, path), ExitCode.USAGE) from error
    except FrameRefused as error:
        raise Failure(f"{path}: {error}", ExitCode.USAGE) from error


def _verify(file: ModelFile, pixels: Image, here: Surroundings) -> list[dict[str, Any]]:
    first, *others = surroundings.ways(file, here)
    reference, precision = _find(file, pixels, first, here)
    records = [_record(file, first, precision, reference, None)]
    for way in others:
        found, precision = _find(file, pixels, way, here)
        compared = compare(reference, found, threshold=_THRESHOLD, exact=precision == "fp32")
        records.append(_record(file, way, precision, found, compared))
    return records


def _find(file: ModelFile, pixels: Image, way: Way, here: Surroundings) -> tuple[Boxes, str]:
    """Return the boxes that an engine finds, faces and people together, and what it computes in."""
    settings = here.settings
    detector = Detector.load(
        [file],
        engine=way.engine,
        precision=way.precision,
        parallel=1,
        max_input=settings.max_frame_size,
        gpu=settings.gpu,
        allow_unsafe=settings.allow_unsafe_models,
    )
    try:
        found = detector.worker().detect(pixels, _THRESHOLD)
        return np.concatenate([found.faces, found.bodies]), detector.models[0].engine.precision
    finally:
        detector.close()


def _record(
    file: ModelFile, way: Way, precision: str, found: Boxes, compared: Comparison | None
) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "engine": way.engine,
        "precision": precision,
        "boxes": len(found),
        "matched": compared and compared.matched,
        "alone": compared and compared.alone,
        "worst_pixels": compared and round(compared.worst_pixels, 3),
        "worst_confidence": compared and round(compared.worst_confidence, 5),
        "agrees": compared and compared.agree,
    }


def _name(record: dict[str, Any]) -> str:
    return f"{record['engine']} at {record['precision']}"


def _show(output: Output, records: list[dict[str, Any]]) -> None:
    table = bare_table("file", "engine", "precision")
    for name in ("boxes", "matched", "alone", "px apart", "confidence apart"):
        table.add_column(name, justify="right")
    table.add_column("")
    for each in records:
        figures = [each[key] for key in ("matched", "alone", "worst_pixels", "worst_confidence")]
        verdict = {None: "the reference", True: "agrees", False: "differs"}[each["agrees"]]
        table.add_row(
            Path(each["path"]).name,
            each["engine"],
            each["precision"],
            str(each["boxes"]),
            *("" if figure is None else str(figure) for figure in figures),
            verdict,
        )
    output.show(table)
