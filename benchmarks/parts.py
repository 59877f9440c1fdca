"""What each part of a frame costs by itself: decoding, resizing, inference, post-processing.

    python -m benchmarks.parts MODEL FRAMES

Each part is run alone by as many threads as the machine has cores, so that its price is the one it has
beside another of its kind: cores share caches, memory and, with SMT, their arithmetic.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from crowd.detector.v1 import detector_pb2 as pb

from benchmarks import frames, machine
from benchmarks.contender import Figures, obey
from detector_service.crowd.analysis import analyse
from detector_service.detection import heads, nms
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile
from detector_service.frames.pixels import Picture
from detector_service.pipeline import FrameLimits, Pipeline
from detector_service.settings import load_settings

_IOU_THRESHOLD: Final = 0.7
_MOST_DETECTIONS: Final = 300

#: Does one part of the frame with this number.
_Part = Callable[[int], object]


class Parts:
    """The service's own code, part by part."""

    def __init__(self, model: Path, folder: Path) -> None:
        settings = load_settings()
        self._confidence: Final = settings.confidence_threshold
        self._limits: Final = FrameLimits(settings.max_frame_bytes, settings.max_image_pixels)
        self._sent: Final = [pb.Frame(encoded=data) for data in frames.read(folder)]
        self._detector: Final = Detector.load(
            [ModelFile(model, "benchmark", frozenset({"face", "body"}), embedded=True)],
            engine="openvino",
            precision=settings.precision,
            parallel=machine.cores(),
            max_input=settings.max_frame_size,
        )
        self._model: Final = self._detector.models[0]
        self._letterbox: Final = self._model.letterbox(frames.WIDTH, frames.HEIGHT)
        self._size: Final = (self._letterbox.height, self._letterbox.width)
        self._model.engine.prepare(*self._size)
        decoding = Pipeline(self._detector, self._limits)
        self._pictures: Final[list[Picture]] = [decoding.decode(frame) for frame in self._sent]

    def measure(self, seconds: float) -> Figures:
        """Return milliseconds of processor time for a frame of each part.

        Args:
            seconds: that each part is measured for.
        """
        makers: dict[str, Callable[[], _Part]] = {
            "decode": self._decoding,
            "resize": self._resizing,
            "inference": self._inference,
            "post-processing": self._post_processing,
        }
        return {name: _cpu_ms(make, seconds) for name, make in makers.items()}

    def _decoding(self) -> _Part:
        pipeline = Pipeline(self._detector, self._limits)
        return lambda number: pipeline.decode(self._sent[number % len(self._sent)])

    def _resizing(self) -> _Part:
        buffer = self._model.engine.request().buffer(*self._size)

        def resize(number: int) -> None:
            picture = self._pictures[number % len(self._pictures)]
            self._letterbox.apply(picture.pixels, buffer)

        return resize

    def _inference(self) -> _Part:
        request = self._model.engine.request()
        self._letterbox.apply(self._pictures[0].pixels, request.buffer(*self._size))

        def infer(_number: int) -> None:
            request.start(request.buffer(*self._size), self._confidence)
            request.wait()

        return infer

    def _post_processing(self) -> _Part:
        request = self._model.engine.request()
        answers = []
        for picture in self._pictures:
            buffer = request.buffer(*self._size)
            self._letterbox.apply(picture.pixels, buffer)
            request.start(buffer, self._confidence)
            answers.append(np.array(request.wait()[0]))
        known = len(self._model.metadata.classes)
        counted = {
            role: heads.class_table(known, classes) for role, classes in self._model.counted.items()
        }
        wanted = np.logical_or.reduce(list(counted.values()))

        def read(number: int) -> None:
            candidates = heads.read_anchors(answers[number % len(answers)], self._confidence)
            kept = nms.suppress(
                candidates.of(wanted), iou_threshold=_IOU_THRESHOLD, most=_MOST_DETECTIONS
            )
            boxes = {
                role: np.column_stack(
                    [self._letterbox.to_frame(kept.of(classes).boxes), kept.of(classes).scores]
                )
                for role, classes in counted.items()
            }
            analyse(boxes["face"], boxes["body"], frames.WIDTH, frames.HEIGHT)

        return read


def _cpu_ms(make: Callable[[], _Part], seconds: float) -> float:
    """Return the processor time of one go, in ms, while every core does the same."""
    parts = [make() for _ in range(machine.cores())]
    counts = [0] * len(parts)
    stop = threading.Event()

    def loop(index: int) -> None:
        number = index
        while not stop.is_set():
            parts[index](number)
            number += len(parts)
            counts[index] += 1

    threads = [threading.Thread(target=loop, args=(index,)) for index in range(len(parts))]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 4)
    began, before = time.process_time(), sum(counts)
    time.sleep(seconds)
    cpu, done = time.process_time() - began, sum(counts) - before
    stop.set()
    for thread in threads:
        thread.join()
    return 1000 * cpu / done


if __name__ == "__main__":
    obey({"measure": Parts(Path(sys.argv[1]), Path(sys.argv[2])).measure})
