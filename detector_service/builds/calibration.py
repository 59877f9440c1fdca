"""Photographs that show TensorRT which numbers a model meets, so that 8 bits can be made to suffice for them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detector_service.errors import ModelError

_ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
#: More make the build longer, and little better.
_MOST: Final = 512
_GREY: Final = (114, 114, 114)  # Ultralytics' padding


def photographs(folder: Path) -> list[Path]:
    """Return the photographs of a folder, those in folders within it too, at most 512.

    Raises:
        ModelError: there are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise ModelError(
            f"CALIBRATION_IMAGES={folder}: there is no photograph in it ({', '.join(sorted(_ENDINGS))}); put some "
            "hundreds there that are like those that will come"
        )
    return found[:: -(-len(found) // _MOST)]  # from everywhere, not only the first


def fingerprint(photos: list[Path]) -> str:
    """Return some digits that change with the photographs.

    Raises:
        ModelError: one cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for photo in photos:
            digest.update(hashlib.sha256(photo.read_bytes()).digest())
    except OSError as error:
        raise ModelError(
            f"CALIBRATION_IMAGES: {error.filename} cannot be read: {error.strerror}"
        ) from error
    return digest.hexdigest()[:8]


def batches(photos: list[Path], images: int, side: int) -> Iterator[NDArray[np.float32]]:
    """Give the photographs as the model sees them, in whole batches; the last is filled up from the first ones.

    Args:
        photos: the files; what is no image is passed over.
        images: in a batch.
        side: of the input, in pixels.

    Returns:
        Shape (images, 3, side, side), red-green-blue in [0, 1].

    Raises:
        ModelError: none of them is an image.
    """
    filling: list[NDArray[np.float32]] = []
    first: list[NDArray[np.float32]] = []
    for photo in photos:
        pixels = cv2.imread(str(photo))
        if pixels is None:
            continue
        filling.append(_fitted(np.asarray(pixels, np.uint8), side))
        if len(first) < images:
            first.append(filling[-1])
        if len(filling) == images:
            yield np.stack(filling)
            filling = []
    if not first:
        raise ModelError(f"{photos[0].parent}: none of its photographs can be read")
    if filling:
        while len(filling) < images:
            filling += first[: images - len(filling)]
        yield np.stack(filling)


def _fitted(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return a photograph within a grey square; shape (3, side, side)."""
    height, width = pixels.shape[:2]
    gain = side / max(height, width)
    inner_height, inner_width = max(round(height * gain), 1), max(round(width * gain), 1)
    top, left = (side - inner_height) // 2, (side - inner_width) // 2
    square = np.full((side, side, 3), _GREY, np.uint8)
    inner = cv2.resize(pixels, (inner_width, inner_height))
    square[top : top + inner_height, left : left + inner_width] = inner
    planes = square[..., ::-1].transpose(2, 0, 1)
    return np.asarray(planes, np.float32) / np.float32(255)
