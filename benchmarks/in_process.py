"""Contender "in-process limit": decode, resize, inference and NMS in threads, and nothing else.

    python -m benchmarks.in_process FRAMES

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
from detector_service.detection import model_files
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile, Role
from detector_service.pipeline import FrameLimits, Pipeline
from detector_service.settings import load_settings


class InProcess:
    """The pipeline, run by any number of threads; each number has a detector built for it.

    The detector has the embedded model for both roles, or, `apart`, the same weights twice: as a face
    model and as a body model of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._frames: Final = [pb.Frame(encoded=data) for data in frames.read(folder)]
        self._settings: Final = load_settings()
        self._detectors: Final[dict[tuple[int, bool], Detector]] = {}

    def load(self, workers: int, *, apart: bool = False) -> Figures:
        """Load the models for so many threads, and compile them for the frames' size."""
        roles: list[frozenset[Role]] = (
            [frozenset({"face"}), frozenset({"body"})] if apart else [frozenset({"face", "body"})]
        )
        path = model_files.embedded_model()
        detector = self._detectors[workers, apart] = Detector.load(
            [ModelFile(path, "benchmark", role, embedded=True) for role in roles],
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

    def measure(
        self, workers: int, warm_up: float, seconds: float, *, apart: bool = False
    ) -> Figures:
        """Let so many threads loop over the frames; give frames a second, and what a frame costs."""
        detector = self._detectors[workers, apart]
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
            "frames": done,
            "fps": done / took,
            "cpu_ms_per_frame": 1000 * cpu / done,
            "detections_per_frame": found,
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


def _done(threads: list[_Thread]) -> int:
    return sum(thread.done for thread in threads)


if __name__ == "__main__":
    contender = InProcess(Path(sys.argv[1]))
    obey({"load": contender.load, "measure": contender.measure})
