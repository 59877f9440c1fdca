"""Photographs of which no one's rights are asked for: those that installed packages bring, and the project's own.

| photograph | from | by, and under |
| --- | --- | --- |
| astronaut | models/astronaut.jpg | NASA, public domain |
| admiral | matplotlib's sample data, `grace_hopper.jpg` | US Navy (James S. Davis), public domain |
| camera | scikit-image's data, `camera` | Lav Varshney, CC0 |
| cat, coffee, rocket, coins, bricks | scikit-image's data | CC0 or public domain, see its `data/_fetchers.py` |
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import matplotlib.cbook
import numpy as np
import skimage.data

from training.data import CLASSES, Image, Picture
from training.finders import Finder

Labelled: TypeAlias = list[Picture]

_OWN = Path(__file__).resolve().parents[2] / "models"
_samples: Any = skimage.data


@cache
def photographs() -> dict[str, Image]:
    """Return them by their names, blue-green-red."""
    makers: dict[str, Callable[[], Any]] = {
        "camera": _samples.camera,
        "cat": _samples.chelsea,
        "coffee": _samples.coffee,
        "rocket": _samples.rocket,
        "coins": _samples.coins,
        "bricks": _samples.brick,
    }
    admiral: Any = matplotlib.cbook
    found = {
        "astronaut": _read(_OWN / "astronaut.jpg"),
        "admiral": _read(Path(str(admiral.get_sample_data("grace_hopper.jpg", asfileobj=False)))),
    }
    return found | {name: _bgr(np.asarray(make(), np.uint8)) for name, make in makers.items()}


def labelled_by(finder: Finder) -> Labelled:
    """Return those with people, with what a finder is sure of as their labels."""
    pictures = []
    for name in ("astronaut", "admiral", "camera"):
        pixels = photographs()[name]
        rows = [
            (index, *row[:4])
            for index, boxes in finder(pixels).items()
            for row in boxes
            if row[4] > 0.5
        ]
        boxes = np.array(rows, np.float32).reshape(-1, 5)
        pictures.append(Picture(name, pixels, boxes, frozenset(range(len(CLASSES)))))
    return pictures


def _read(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def _bgr(pixels: Image) -> Image:
    code = cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
