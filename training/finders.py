"""What finds people and faces in a picture: Ultralytics' `predict`. `service_engines` has the service's own."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from training.accuracy import Found
from training.data import CLASSES, Image, Picture

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
