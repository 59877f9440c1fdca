"""``detector models bench``: how long an engine takes for so many images at once."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from crowd_detector.cli.output import Output
from crowd_detector.cli.tables import bare_table

from detector_service.detection.detector import Detector
from detector_service.detection.model import Model
from detector_service.detection.model_files import ModelFile
from detector_service.model_commands import surroundings
from detector_service.model_commands.surroundings import Surroundings, Way

#: The shape of the frames that are timed, in pixels.
_FRAME: Final = (1280, 720)


def run(
    path: Path | None, batches: Sequence[int], seconds: float, here: Surroundings, *, as_json: bool
) -> None:
    """Time every engine here with every number of images at once.

    Raises:
        ModelError: a model cannot be loaded.
    """
    output = Output(as_json=as_json)
    table = bare_table("file", "engine", "precision", "device")
    for name in ("at once", "ms (median)", "ms (p95)", "images/s"):
        table.add_column(name, justify="right")
    for file in surroundings.files(path, here):
        for way in surroundings.ways(file, here):
            for record in _timed(file, way, batches, seconds, here):
                if not output.for_people:
                    output.line(record)
                table.add_row(
                    file.path.name,
                    way.engine,
                    record["precision"],
                    record["device"],
                    str(record["at_once"]),
                    f"{record['median_ms']:.1f}",
                    f"{record['p95_ms']:.1f}",
                    f"{record['images_per_second']:.1f}",
                )
    if output.for_people:
        output.show(table)
        output.tell(
            f"{_FRAME[0]} x {_FRAME[1]} frames, resized before; from the first image's start to the last one's answer"
        )


def _timed(
    file: ModelFile, way: Way, batches: Sequence[int], seconds: float, here: Surroundings
) -> Iterator[dict[str, Any]]:
    settings = here.settings
    detector = Detector.load(
        [file],
        engine=way.engine,
        precision=way.precision,
        parallel=max(batches),
        max_input=settings.max_frame_size,
        gpu=replace(settings.gpu, batch=max(batches)),
        allow_unsafe=settings.allow_unsafe_models,
    )
    try:
        (model,) = detector.models
        for at_once in batches:
            times = np.array(_rounds(model, at_once, seconds))
            yield {
                "path": str(file.path),
                "engine": way.engine,
                "precision": model.engine.precision,
                "device": model.engine.device,
                "at_once": at_once,
                "rounds": len(times),
                "median_ms": round(float(np.median(times)) * 1000, 3),
                "p95_ms": round(float(np.percentile(times, 95)) * 1000, 3),
                "images_per_second": round(at_once * len(times) / float(times.sum()), 2),
            }
    finally:
        detector.close()


def _rounds(model: Model, at_once: int, seconds: float) -> list[float]:
    """Return how long each round took: so many images are started, then waited for."""
    letterbox = model.letterbox(*_FRAME)
    requests = [model.engine.request() for _ in range(at_once)]
    random = np.random.default_rng(0)
    frame = random.integers(0, 255, (*_FRAME[::-1], 3), np.uint8)

    def look() -> float:
        buffers = [request.buffer(letterbox.height, letterbox.width) for request in requests]
        for buffer in buffers:
            letterbox.apply(frame, buffer)
        began = time.perf_counter()
        for request, buffer in zip(requests, buffers, strict=True):
            request.start(buffer, 0.25)
        for request in requests:
            request.wait()
        return time.perf_counter() - began

    look()  # what is made at the first time is no part of it
    end, times = time.perf_counter() + seconds, [look()]
    while time.perf_counter() < end:
        times.append(look())
    return times
