"""The service's own engines as finders; apart from `finders`, since they bring gRPC, beside which nothing should fork."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from detector_service.detection.detector import Detector
from detector_service.errors import ModelError
from detector_service.model_commands import surroundings
from detector_service.model_commands.surroundings import Surroundings, Way
from training.accuracy import Found
from training.data import CLASSES, Image
from training.errors import TrainingError
from training.finders import FLOOR, Finder
from training.samples import STRIDE


def ways(path: Path) -> tuple[Surroundings, list[Way]]:
    """Return how the service can run a model's file on this machine.

    Raises:
        TrainingError: it cannot.
    """
    try:
        here = surroundings.look()
        return here, surroundings.ways(surroundings.given(path), here)
    except ModelError as error:
        raise TrainingError(str(error)) from error


def precision(way: Way, here: Surroundings) -> str:
    """Return what an engine will compute in.

    Raises:
        TrainingError: it cannot compute in what PRECISION wants.
    """
    if way.precision != "auto":
        return way.precision
    try:
        return surroundings.precision(way.engine, here)
    except ModelError as error:
        raise TrainingError(str(error)) from error


@contextmanager
def loaded(path: Path, way: Way, here: Surroundings, size: int) -> Iterator[tuple[str, Finder]]:
    """Load a model as the service does; gives the engine's name with its precision, and what finds.

    Args:
        path: the model's file.
        way: by which engine.
        here: the service's settings and the machine.
        size: the longest side of its input, in pixels, whatever the model's own is.

    Raises:
        TrainingError: it cannot be loaded, or its input is of another, fixed size.
    """
    if size % STRIDE:
        raise TrainingError(f"--size {size}: give a multiple of {STRIDE}")
    try:
        plain = surroundings.given(path)
        roles = surroundings.roles_of(surroundings.metadata(plain, here))
        detector = Detector.load(
            [surroundings.given(path, roles)],
            engine=way.engine,
            precision=way.precision,
            parallel=1,
            max_input=max(size, here.settings.max_frame_size),
            threads=here.settings.engine_threads,
            gpu=here.settings.gpu,
            allow_unsafe=here.settings.allow_unsafe_models,
        )
    except ModelError as error:
        raise TrainingError(str(error)) from error
    try:
        fixed = detector.models[0].engine.input_shape
        if {fixed.height, fixed.width} - {None, size}:
            raise TrainingError(
                f"--size {size}: the input of {path} is fixed at {fixed.width} x {fixed.height}; give that size"
            )
        worker = Detector([replace(model, longest=size) for model in detector.models]).worker()

        def find(image: Image) -> Found:
            detections = worker.detect(image, FLOOR)
            return {
                CLASSES.index("person"): detections.bodies,
                CLASSES.index("face"): detections.faces,
            }

        yield f"{way.engine} {detector.models[0].engine.precision}", find
    finally:
        detector.close()
