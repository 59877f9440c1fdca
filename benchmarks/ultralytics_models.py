"""Ultralytics' `predict`, as the peers and the prototype's design call it: with PyTorch, in fp32.

The same weights, input shape and thresholds as the service's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from ultralytics.models import YOLO

Image: TypeAlias = NDArray[np.uint8]
Found: TypeAlias = dict[str, list[dict[str, Any]]]

_IMAGE_SIZE: Final = 416
_CONFIDENCE: Final = 0.5
_NAMES: Final = {"face": "faces", "person": "bodies"}


class Models:
    """Models that are asked one after the other, each for what it is there for."""

    def __init__(self, face: Path, body: Path, *, once_if_same: bool) -> None:
        """Load them.

        Args:
            face: weights of the face model.
            body: weights of the body model.
            once_if_same: whether one file is asked once for both; the prototype's design asks twice.
        """
        passes = [(face, ["face"]), (body, ["person"])]
        if once_if_same and face == body:
            passes = [(face, ["face", "person"])]
        self._passes: Final = [_Pass(weights, names) for weights, names in passes]

    def predict(self, images: Sequence[Image], confidence: float = _CONFIDENCE) -> list[Found]:
        """Return what each image shows: faces and bodies, with bbox and confidence.

        Args:
            images: a batch, of one shape.
            confidence: what scores less is left out.
        """
        found: list[Found] = [{"faces": [], "bodies": []} for _ in images]
        for each in self._passes:
            each.add(images, confidence, found)
        return found


class _Pass:
    """One model."""

    def __init__(self, weights: Path, names: list[str]) -> None:
        self._model: Final[Any] = YOLO(weights)
        self._keys: Final = {
            index: _NAMES[name] for index, name in self._model.names.items() if name in names
        }

    def add(self, images: Sequence[Image], confidence: float, found: list[Found]) -> None:
        """Add what it finds in each image."""
        results = self._model.predict(
            list(images),
            imgsz=_IMAGE_SIZE,
            rect=True,
            device="cpu",
            conf=confidence,
            classes=list(self._keys),
            verbose=False,
        )
        for result, entry in zip(results, found, strict=True):
            for x1, y1, x2, y2, score, index in result.boxes.data.tolist():
                entry[self._keys[int(index)]].append(
                    {"bbox": [x1, y1, x2, y2], "confidence": score}
                )


def decode(data: bytes) -> Image:
    """Return the pixels of an encoded image."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not an image")
    return np.asarray(image, np.uint8)
