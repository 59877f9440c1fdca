"""The models together: pixels in, faces and bodies out."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from detector_service import engines
from detector_service.builds.cache import BuildCache
from detector_service.builds.export import exported
from detector_service.detection import heads, model_files, nms
from detector_service.detection.letterbox import Letterbox
from detector_service.detection.metadata import Metadata
from detector_service.detection.model_files import ModelFile, Role
from detector_service.engines.base import Engine, Prepared, Request
from detector_service.errors import ModelError
from detector_service.frames.pixels import Image

#: Shape (n, 5): x1, y1, x2, y2 in pixels of the frame, then confidence; by falling confidence.
Boxes: TypeAlias = NDArray[np.float32]

#: Ultralytics' defaults for `predict` (cfg/default.yaml: iou, max_det).
_IOU_THRESHOLD: Final = 0.7
_MOST_DETECTIONS: Final = 300

#: The shape that most cameras send, made ready for at the start: width and height.
_USUAL_FRAME: Final = (1280, 720)


@dataclass(frozen=True, slots=True)
class Detections:
    """What a frame shows.

    Attributes:
        faces: boxes of faces.
        bodies: boxes of people.
        inference_seconds: what resizing and the models took.
    """

    faces: Boxes
    bodies: Boxes
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what it is for.

    Attributes:
        file: where it came from, and its roles.
        engine: what runs it.
        metadata: what it says of itself.
        longest: the longest side of its input, in pixels.
        counted: which of its classes count for each of its roles.
        content_sha256: of the weights, in hexadecimal.
        warm_up_seconds: what loading, compiling and a first inference took.
    """

    file: ModelFile
    engine: Engine
    metadata: Metadata
    longest: int
    counted: dict[Role, NDArray[np.int64]]
    content_sha256: str
    warm_up_seconds: float

    def letterbox(self, width: int, height: int) -> Letterbox:
        """Return how a frame of this size, in pixels, lies in the model's input."""
        return Letterbox.fit(
            width,
            height,
            longest=self.longest,
            stride=self.metadata.stride,
            fixed=self.engine.input_shape,
        )


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
        allow_unsafe: bool = False,
        stop: threading.Event | None = None,
    ) -> "Detector":
        """Load and warm the models; slow.

        Args:
            files: one file, or one for each role.
            engine: the engine's name.
            precision: of the arithmetic.
            parallel: how many workers will run at once.
            max_input: the longest side of a model's input may not exceed it, in pixels.
            allow_unsafe: whether weights may be loaded that run code of their own.
            stop: set when the models are not wanted any more, while they are being exported.

        Raises:
            ModelError: a model cannot serve; the text names the variable, the file and the cure.
            BuildStopped: `stop` was set.
        """
        # Frames are worked on side by side, each by one thread; more would only be in the way.
        cv2.setNumThreads(1)
        models: list[Model] = []
        try:
            models.extend(
                _load(
                    file,
                    engine,
                    precision,
                    parallel,
                    max_input,
                    allow_unsafe=allow_unsafe,
                    stop=stop or threading.Event(),
                )
                for file in files
            )
        except BaseException:
            cls(models).close()
            raise
        return cls(models)

    def model(self, role: Role) -> Model:
        """Return the model that has this role."""
        return next(model for model in self.models if role in model.file.roles)

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
        self._models: Final[list[tuple[Model, Request]]] = [(m, m.engine.request()) for m in models]

    def detect(self, image: Image, confidence_threshold: float) -> Detections:
        """Find faces and bodies; two models run at the same time.

        Args:
            image: a frame.
            confidence_threshold: detections score more than this; in [0, 1].
        """
        height, width = image.shape[:2]
        started = time.perf_counter()
        letterboxes: list[Letterbox] = []
        prepared: dict[Letterbox, Prepared] = {}
        for model, request in self._models:
            letterbox = model.letterbox(width, height)
            buffer = request.buffer(letterbox.height, letterbox.width)
            if letterbox in prepared:  # one resize, where two models see the same picture
                buffer[:] = prepared[letterbox]
            else:
                letterbox.apply(image, buffer)
            request.start(buffer, confidence_threshold)
            letterboxes.append(letterbox)
            prepared[letterbox] = buffer
        predictions = [request.wait()[0] for _, request in self._models]
        inference_seconds = time.perf_counter() - started
        found: dict[Role, Boxes] = {}
        for (model, _), letterbox, answer in zip(
            self._models, letterboxes, predictions, strict=True
        ):
            candidates = _read(answer, model, confidence_threshold)
            for role, classes in model.counted.items():
                found[role] = _in_frame(candidates.of(classes), letterbox)
        return Detections(found["face"], found["body"], inference_seconds)


def _read(predictions: NDArray[np.float32], model: Model, threshold: float) -> heads.Candidates:
    wanted = np.unique(np.concatenate(list(model.counted.values())))
    if model.metadata.end_to_end:
        return heads.read_end_to_end(predictions, threshold).of(wanted)
    candidates = heads.read_anchors(predictions, threshold).of(wanted)
    return nms.suppress(candidates, iou_threshold=_IOU_THRESHOLD, most=_MOST_DETECTIONS)


def _in_frame(candidates: heads.Candidates, letterbox: Letterbox) -> Boxes:
    boxes = letterbox.to_frame(candidates.boxes)
    rows = np.column_stack([boxes, np.clip(candidates.scores, 0, 1)])
    # A box that lies in the padding, or is none (NaN compares as false), is nobody in the frame.
    return rows[(rows[:, 0] < rows[:, 2]) & (rows[:, 1] < rows[:, 3])]


def _load(
    file: ModelFile,
    engine_name: str,
    precision: engines.Precision,
    parallel: int,
    max_input: int,
    *,
    allow_unsafe: bool,
    stop: threading.Event,
) -> Model:
    started = time.perf_counter()
    try:
        content = model_files.content_hash(file.path)
        source = file.path
        if kind := engines.needs_export(engine_name, file.ending):
            source = exported(source, content, kind, allow_unsafe=allow_unsafe, stop=stop)
        options = engines.EngineOptions(
            precision, parallel, BuildCache(file.path, content).writable()
        )
        engine = engines.load(engine_name, source, options)
        try:
            metadata = Metadata.parse(engine.metadata, file.path)
            model = Model(
                file=file,
                engine=engine,
                metadata=metadata,
                longest=_longest_side(file, engine, metadata, max_input),
                counted=_counted_classes(file, metadata),
                content_sha256=content,
                warm_up_seconds=0.0,
            )
            _warm_up(model)
        except BaseException:
            engine.close()
            raise
    except ModelError as error:
        raise ModelError(f"{file.variables}: {error}") from error
    return replace(model, warm_up_seconds=time.perf_counter() - started)


def _warm_up(model: Model) -> None:
    width, height = _USUAL_FRAME
    letterbox = model.letterbox(width, height)
    blank = np.zeros((height, width, 3), np.uint8)
    try:
        model.engine.prepare(letterbox.height, letterbox.width)
        request = model.engine.request()
        buffer = request.buffer(letterbox.height, letterbox.width)
        letterbox.apply(blank, buffer)
        request.start(buffer, 0.0)
        predictions = request.wait()
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"{model.file.path}: a first inference failed ({cause}); export the model again with "
            "`yolo export format=onnx dynamic=True`"
        ) from error
    _check_head(predictions, model.metadata, model.file)


def _check_head(predictions: NDArray[np.float32], metadata: Metadata, file: ModelFile) -> None:
    """Refuse a model whose answer is not what its metadata promises."""
    shape = predictions.shape
    if metadata.end_to_end:
        as_promised = len(shape) == 3 and shape[2] == 6  # noqa: PLR2004 - batch, detections, six figures
        promised = "(1, detections, 6)"
    else:
        as_promised = len(shape) == 3 and shape[1] == 4 + len(metadata.classes)  # noqa: PLR2004
        promised = f"(1, {4 + len(metadata.classes)}, anchors)"
    if not as_promised:
        raise ModelError(
            f"{file.path}: it answers with the shape {shape}, not {promised} as its metadata says; "
            "export a detection model without `nms=True`"
        )


def _longest_side(file: ModelFile, engine: Engine, metadata: Metadata, max_input: int) -> int:
    fixed = [side for side in (engine.input_shape.height, engine.input_shape.width) if side]
    if fixed and max(fixed) > max_input:
        raise ModelError(
            f"{file.path}: its input is fixed at {max(fixed)} pixels, more than MAX_FRAME_SIZE={max_input}; "
            "raise MAX_FRAME_SIZE, or export the model with `dynamic=True`"
        )
    longest = min(metadata.input_size, max_input) // metadata.stride * metadata.stride
    if longest == 0:
        raise ModelError(
            f"{file.path}: MAX_FRAME_SIZE={max_input} is less than the model's stride, "
            f"{metadata.stride}; raise it"
        )
    return longest


def _counted_classes(file: ModelFile, metadata: Metadata) -> dict[Role, NDArray[np.int64]]:
    """Return which classes count: of a body model "person"; of a face model all, but of one that knows both "face"."""
    people = [index for index, name in enumerate(metadata.classes) if name == "person"]
    faces = [index for index, name in enumerate(metadata.classes) if name == "face"]
    listed = ", ".join(metadata.classes[:20]) + (", …" if len(metadata.classes) > 20 else "")  # noqa: PLR2004
    counted: dict[Role, NDArray[np.int64]] = {}
    if "body" in file.roles:
        if not people:
            raise ModelError(
                f"{file.path}: it has no class 'person', which a body model needs; its classes are: {listed}"
            )
        counted["body"] = np.array(people)
    if "face" in file.roles:
        if people and not faces:
            raise ModelError(
                f"{file.path}: it has the class 'person' but no class 'face', so it cannot find faces; "
                f"its classes are: {listed}"
            )
        counted["face"] = np.array(faces if people else range(len(metadata.classes)))
    return counted
