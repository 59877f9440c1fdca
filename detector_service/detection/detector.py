"""The models together: pixels in, faces and bodies out."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from detector_service import engines
from detector_service.detection import heads, nms
from detector_service.detection.letterbox import Letterbox
from detector_service.detection.model import Model, ModelLoader
from detector_service.detection.model_files import ModelFile, Role
from detector_service.engines.base import Batch, Prepared
from detector_service.frames.pixels import Image, Picture

#: Shape (n, 5): x1, y1, x2, y2 in pixels of the frame, then confidence; by falling confidence.
Boxes: TypeAlias = NDArray[np.float32]

#: Ultralytics' defaults for `predict` (cfg/default.yaml: iou, max_det).
_IOU_THRESHOLD: Final = 0.7
_MOST_DETECTIONS: Final = 300


@dataclass(frozen=True, slots=True)
class Detections:
    """What a frame shows.

    Attributes:
        faces: boxes of faces.
        bodies: boxes of people.
        inference_seconds: what resizing and the models took.
        batches: that the frame was in, of engines that make some.
    """

    faces: Boxes
    bodies: Boxes
    inference_seconds: float
    batches: tuple[Batch, ...] = ()


class Detector:
    """All models that a frame goes through: one, or one for faces and one for bodies."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models: Final = tuple(models)

    @classmethod
    def load(
        cls,
        files: Sequence[ModelFile],
        *,
        engine: str,
        precision: engines.Precision,
        parallel: int,
        max_input: int,
        threads: int = 0,
        gpu: engines.GpuOptions | None = None,
        allow_unsafe: bool = False,
        stop: threading.Event | None = None,
    ) -> "Detector":
        """Load and warm the models; slow.

        Args:
            files: one file, or one for each role.
            engine: the engine's name; "auto" takes what suits each file and the machine.
            precision: of the arithmetic.
            parallel: how many workers will run at once.
            max_input: the longest side of a model's input may not exceed it, in pixels.
            threads: of the engine, which all workers' inferences share; 0: one for each core.
            gpu: whether and how a GPU is used; by default none is.
            allow_unsafe: whether weights may be loaded that run code of their own.
            stop: set when the models are not wanted any more, while something is built of them.

        Raises:
            ModelError: a model cannot serve; the text names the variable, the file and the cure.
            BuildStopped: `stop` was set.
        """
        # Frames are worked on side by side, each by one thread; more would only be in the way.
        cv2.setNumThreads(1)
        loader = ModelLoader(
            engine=engine,
            precision=precision,
            parallel=parallel,
            max_input=max_input,
            threads=threads or engines.available_cores(),
            gpu=gpu or engines.GpuOptions(),
            allow_unsafe=allow_unsafe,
            stop=stop or threading.Event(),
        )
        models: list[Model] = []
        try:
            models.extend(loader.load(file) for file in files)
        except BaseException:
            cls(models).close()
            raise
        return cls(models)

    @property
    def on_gpu(self) -> bool:
        """Whether a model runs on one."""
        return any(model.engine.device != "cpu" for model in self.models)

    def model(self, role: Role) -> Model:
        """Return the model that has this role."""
        return next(model for model in self.models if role in model.file.roles)

    def enough(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of a frame that its models see of it: what larger it has is lost on them."""
        letterboxes = [model.letterbox(width, height) for model in self.models]
        return (
            max(letterbox.inner_width for letterbox in letterboxes),
            max(letterbox.inner_height for letterbox in letterboxes),
        )

    def batches(self) -> Counter[int]:
        """Return how many batches the engines have run, by the images in them."""
        total: Counter[int] = Counter()
        for model in self.models:
            total.update(dict(model.engine.batches))  # a copy, for workers go on counting
        return total

    def worker(self) -> "DetectorWorker":
        """Return what one thread needs to detect."""
        return DetectorWorker(self.models)

    def close(self) -> None:
        """Release memory and threads; may be called twice."""
        for model in self.models:
            model.engine.close()


class DetectorWorker:
    """One thread's way through the models."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models: Final = [(model, model.engine.request(), _Reader(model)) for model in models]

    def detect(self, image: Image, confidence_threshold: float) -> Detections:
        """Find faces and bodies in a frame that has all of its pixels."""
        return self.detect_in(Picture.whole(image), confidence_threshold)

    def detect_in(self, picture: Picture, confidence_threshold: float) -> Detections:
        """Find faces and bodies; two models run at the same time.

        Args:
            picture: a frame.
            confidence_threshold: detections score more than this; in [0, 1].
        """
        started = time.perf_counter()
        letterboxes: list[Letterbox] = []
        prepared: dict[Letterbox, Prepared] = {}
        for model, request, _ in self._models:
            letterbox = model.letterbox(picture.width, picture.height)
            buffer = request.buffer(letterbox.height, letterbox.width)
            if letterbox in prepared:  # one resize, where two models see the same picture
                buffer[:] = prepared[letterbox]
            else:
                letterbox.apply(picture.pixels, buffer)
            request.start(buffer, confidence_threshold)
            letterboxes.append(letterbox)
            prepared[letterbox] = buffer
        predictions = [request.wait()[0] for _, request, _ in self._models]
        inference_seconds = time.perf_counter() - started
        found: dict[Role, Boxes] = {}
        for (_, _, reader), letterbox, answer in zip(
            self._models, letterboxes, predictions, strict=True
        ):
            for role, candidates in reader.read(answer, confidence_threshold).items():
                found[role] = _in_frame(candidates, letterbox)
        batches = tuple(request.batch for _, request, _ in self._models if request.batch)
        return Detections(found["face"], found["body"], inference_seconds, batches)


class _Reader:
    """Reads what one model answers."""

    def __init__(self, model: Model) -> None:
        count = len(model.metadata.classes)
        self._end_to_end: Final = model.metadata.end_to_end
        self._counted: Final = {
            role: heads.class_table(count, classes) for role, classes in model.counted.items()
        }
        self._wanted: Final = np.logical_or.reduce(list(self._counted.values()))

    def read(
        self, predictions: NDArray[np.float32], threshold: float
    ) -> dict[Role, heads.Candidates]:
        """Return the detections of each role, by falling score."""
        candidates = self._read(predictions, threshold)
        return {role: candidates.of(classes) for role, classes in self._counted.items()}

    def _read(self, predictions: NDArray[np.float32], threshold: float) -> heads.Candidates:
        if self._end_to_end:
            finished = heads.read_end_to_end(predictions, threshold).of(self._wanted)
            return finished.at(np.arange(min(len(finished.scores), _MOST_DETECTIONS)))
        candidates = heads.read_anchors(predictions, threshold).of(self._wanted)
        return nms.suppress(candidates, iou_threshold=_IOU_THRESHOLD, most=_MOST_DETECTIONS)


def _in_frame(candidates: heads.Candidates, letterbox: Letterbox) -> Boxes:
    boxes = letterbox.to_frame(candidates.boxes)
    rows = np.column_stack([boxes, np.clip(candidates.scores, 0, 1)])
    # A box that lies in the padding, or is none (NaN compares as false), is nobody in the frame.
    return rows[(rows[:, 0] < rows[:, 2]) & (rows[:, 1] < rows[:, 3])]
