"""Contender "two predict calls": what a prototype does with Ultralytics, a call for each role.

    python -m benchmarks.predict WEIGHTS FRAMES

The same weights, input shape and thresholds as the service, in f32 on PyTorch with its own number of
threads; from the bytes of a JPEG to boxes.
"""

import sys
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from ultralytics.models import YOLO

from benchmarks import frames
from benchmarks.contender import Figures, obey

_IMAGE_SIZE: Final = 416
_CONFIDENCE: Final = 0.5
_ROLES: Final = ("face", "person")


class TwoPredicts:
    """Two models, as the prototype had them: one that is asked for faces, one for people."""

    def __init__(self, weights: Path, folder: Path) -> None:
        self._frames: Final = frames.read(folder)
        self._models: Final = [(YOLO(weights), role) for role in _ROLES]
        self._next = 0

    def load(self) -> Figures:
        """Do what the first frame would have to wait for; say how it runs."""
        self._look()
        return {"torch_threads": torch.get_num_threads()}

    def measure(self, warm_up: float, seconds: float) -> Figures:
        """Look at one frame after the other; give frames a second, and what a frame costs."""
        self._loop(warm_up)
        cpu = time.process_time()
        done, found, took = self._loop(seconds)
        return {
            "frames": done,
            "fps": done / took,
            "cpu_ms_per_frame": 1000 * (time.process_time() - cpu) / done,
            "detections_per_frame": found / done,
        }

    def _loop(self, seconds: float) -> tuple[int, int, float]:
        done = found = 0
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            found += self._look()
            done += 1
        return done, found, took

    def _look(self) -> int:
        data = self._frames[self._next % len(self._frames)]
        self._next += 1
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, "the frames were made here"
        return sum(self._predict(model, role, image) for model, role in self._models)

    @staticmethod
    def _predict(model: Any, role: str, image: Any) -> int:
        classes = [index for index, name in model.names.items() if name == role]
        (result,) = model.predict(
            image,
            imgsz=_IMAGE_SIZE,
            rect=True,
            device="cpu",
            conf=_CONFIDENCE,
            classes=classes,
            verbose=False,
        )
        return len(result.boxes)


if __name__ == "__main__":
    contender = TwoPredicts(Path(sys.argv[1]), Path(sys.argv[2]))
    obey({"load": contender.load, "measure": contender.measure})
