"""The bare loop that the prototype's design is held against: a frame, two predict calls, the next frame.

    python -m benchmarks.predict FACE_WEIGHTS BODY_WEIGHTS FRAMES

From the bytes of a JPEG to boxes, without a server, with as many threads as Ultralytics gives PyTorch.
"""

import sys
import time
from pathlib import Path
from typing import Final

import torch

from benchmarks import frames
from benchmarks.contender import Figures, obey
from benchmarks.ultralytics_models import Models, decode


class TwoPredicts:
    """Two models, as the prototype had them: one that is asked for faces, one for people."""

    def __init__(self, face: Path, body: Path, folder: Path) -> None:
        self._frames: Final = frames.read(folder)
        self._models: Final = Models(face, body, once_if_same=False)
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
            "fps": done / took,
            "cpu_ms_per_frame": 1000 * (time.process_time() - cpu) / done,
            "found_per_frame": found / done,
        }

    def _loop(self, seconds: float) -> tuple[int, int, float]:
        done = found = 0
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            found += self._look()
            done += 1
        return done, found, took

    def _look(self) -> int:
        image = decode(self._frames[self._next % len(self._frames)])
        self._next += 1
        (found,) = self._models.predict([image])
        return len(found["faces"]) + len(found["bodies"])


if __name__ == "__main__":
    contender = TwoPredicts(*map(Path, sys.argv[1:]))
    obey({"load": contender.load, "measure": contender.measure})
