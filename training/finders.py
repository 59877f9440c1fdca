"""What finds people and faces in a picture: Ultralytics' `predict`, or an engine of the service."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from detector_service.detection.detector import Detector
from detector_service.errors import ModelError
from detector_service.model_commands import surroundings
from detector_service.model_commands.surroundings import Surroundings, Way
from training.accuracy import Found
from training.data import CLASSES, Image, Picture
from training.errors import TrainingError
from training.samples import STRIDE

Finder: TypeAlias = Callable[[Image], Found]

#: What scores less is left out: it is below nearly all that counts, and would make matching slow.
FLOOR: Final = 0.005
#: As the service has them (Ultralytics 8.4, cfg/default.yaml: iou, max_det).
_IOU: Final = 0.7
_MOST: Final = 300


def find_in(pictures: Sequence[Picture], finder: Finder) -> list[Found]:
    """Return what a finder finds in each picture."""
    return [finder(picture.pixels) for picture in pictures]


def ultralytics(model: Any, size: int, device: str = "cpu") -> Finder:
    """Return Ultralytics' `predict`, at 32 bits.

    Args:
        model: as `networks.model` or `networks.wrapped` return it.
        size: the longest side of its input, in pixels.
        device: as PyTorch names it.
    """
    classes = {index: CLASSES.index(name) for index, name in model.names.items() if name in CLASSES}

    def find(image: Image) -> Found:
        threads = torch.get_num_threads()
        (result,) = model.predict(
            image,
            imgsz=size,
            conf=FLOOR,
            iou=_IOU,
            max_det=_MOST,
            rect=True,
            device=device,
            verbose=False,
        )
        torch.set_num_threads(threads)  # on a processor it takes all but one, for the whole process
        rows = np.asarray(result.boxes.data.cpu().numpy(), np.float32)
        return {ours: rows[rows[:, 5] == theirs, :5] for theirs, ours in classes.items()}

    return find


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


@contextmanager
def engine(path: Path, way: Way, here: Surroundings, size: int) -> Iterator[tuple[str, Finder]]:
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
        loaded = Detector.load(
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
        fixed = loaded.models[0].engine.input_shape
        if {fixed.height, fixed.width} - {None, size}:
            raise TrainingError(
                f"--size {size}: the input of {path} is fixed at {fixed.width} x {fixed.height}; give that size"
            )
        worker = Detector([replace(model, longest=size) for model in loaded.models]).worker()

        def find(image: Image) -> Found:
            detections = worker.detect(image, FLOOR)
            return {
                CLASSES.index("person"): detections.bodies,
                CLASSES.index("face"): detections.faces,
            }

        yield f"{way.engine} {loaded.models[0].engine.precision}", find
    finally:
        loaded.close()
