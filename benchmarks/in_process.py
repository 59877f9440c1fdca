"""Contender "in-process limit": decode, resize, inference and NMS in threads, and nothing else.

    python -m benchmarks.in_process FACE_MODEL BODY_MODEL FRAMES

No scheduler, no gRPC, no answers as messages: what the service could do at most.
"""

import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Final

from crowd.detector.v1 import detector_pb2 as pb

from benchmarks import frames
from benchmarks.contender import Figures, obey
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile, Role
from detector_service.pipeline import FrameLimits, Pipeline
from detector_service.settings import load_settings


class InProcess:
    """The pipeline, run by any number of threads; each number has a detector built for it."""

    def __init__(self, face: Path, body: Path, folder: Path) -> None:
        self._frames: Final = [pb.Frame(encoded=data) for data in frames.read(folder)]
        self._settings: Final = load_settings()
        self._files: Final = _files(face, body)
        self._detectors: Final[dict[int, Detector]] = {}

    def load(self, workers: int) -> Figures:
        """Load the models for so many threads, and compile them for the frames' size."""
        detector = self._detectors[workers] = Detector.load(
            self._files,
            engine="openvino",
            precision=self._settings.precision,
            parallel=workers,
            max_input=self._settings.max_frame_size,
        )
        for model in detector.models:
            letterbox = model.letterbox(frames.WIDTH, frames.HEIGHT)
            model.engine.prepare(letterbox.height, letterbox.width)
        return {
            "precision": model.engine.precision,
            "input": f"{letterbox.width}x{letterbox.height}",
        }

    def measure(self, workers: int, warm_up: float, seconds: float) -> Figures:
        """Let so many threads loop over the frames; give frames a second, and what a frame costs."""
        detector = self._detectors[workers]
        threads = [_Thread(detector, self._settings_limits(), self._frames) for _ in range(workers)]
        numbers = count()
        for thread in threads:
            thread.begin(numbers)
        time.sleep(warm_up)
        done, began, cpu = _done(threads), time.perf_counter(), time.process_time()
        time.sleep(seconds)
        found = sum(thread.found for thread in threads) / _done(threads)
        done, took = _done(threads) - done, time.perf_counter() - began
        cpu = time.process_time() - cpu
        for thread in threads:
            thread.end()
        return {
            "workers": workers,
            "fps": done / took,
            "cpu_ms_per_frame": 1000 * cpu / done,
            "found_per_frame": found,
        }

    def _settings_limits(self) -> FrameLimits:
        return FrameLimits(self._settings.max_frame_bytes, self._settings.max_image_pixels)


class _Thread:
    """One thread's loop, and what it has done so far."""

    def __init__(self, detector: Detector, limits: FrameLimits, sent: list[pb.Frame]) -> None:
        self.done = 0
        self.found = 0
        self._pipeline: Final = Pipeline(detector, limits)
        self._frames: Final = sent
        self._confidence: Final = load_settings().confidence_threshold
        self._stop = False
        self._thread: threading.Thread | None = None

    def begin(self, numbers: "count[int]") -> None:
        self._thread = threading.Thread(target=self._loop, args=(numbers,))
        self._thread.start()

    def end(self) -> None:
        self._stop = True
        assert self._thread is not None
        self._thread.join()

    def _loop(self, numbers: "count[int]") -> None:
        for number in numbers:
            if self._stop:
                return
            image = self._pipeline.decode(self._frames[number % len(self._frames)])
            found, _ = self._pipeline.find(image, self._confidence)
            self.found += len(found.faces) + len(found.bodies)
            self.done += 1


def _files(face: Path, body: Path) -> list[ModelFile]:
    both: frozenset[Role] = frozenset({"face", "body"})
    if face == body:
        return [ModelFile(face, "benchmark", both, embedded=True)]
    roles: list[tuple[Path, frozenset[Role]]] = [
        (face, frozenset({"face"})),
        (body, frozenset({"body"})),
    ]
    return [ModelFile(path, "benchmark", role, embedded=False) for path, role in roles]


def _done(threads: list[_Thread]) -> int:
    return sum(thread.done for thread in threads)


if __name__ == "__main__":
    contender = InProcess(*map(Path, sys.argv[1:]))
    obey({"load": contender.load, "measure": contender.measure})
