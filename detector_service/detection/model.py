"""A model's file, loaded: by which engine, for which roles, warm, and checked for what it answers."""

import threading
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from detector_service import engines
from detector_service.builds.cache import BuildCache
from detector_service.builds.export import exported
from detector_service.detection import model_files
from detector_service.detection.letterbox import Letterbox
from detector_service.detection.metadata import Metadata
from detector_service.detection.model_files import ModelFile, Role
from detector_service.engines import selection
from detector_service.engines.base import Engine
from detector_service.engines.batching import DeviceFullError
from detector_service.errors import ModelError

_log = structlog.get_logger()

#: The shape that most cameras send, made ready for at the start: width and height.
_USUAL_FRAME: Final = (1280, 720)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoader:
    """How models are loaded.

    Attributes:
        engine: the engine's name; "auto" takes what suits the file and the machine.
        precision: of the arithmetic.
        parallel: how many workers will run at once.
        max_input: the longest side of a model's input may not exceed it, in pixels.
        gpu: whether and how a GPU is used.
        allow_unsafe: whether weights may be loaded that run code of their own.
        stop: set when the models are not wanted any more, while something is built of them.
    """

    engine: str
    precision: engines.Precision
    parallel: int
    max_input: int
    gpu: engines.GpuOptions
    allow_unsafe: bool
    stop: threading.Event

    def load(self, file: ModelFile) -> Model:
        """Load and warm a model; slow.

        Raises:
            ModelError: it cannot serve; the text names the variable, the file and the cure.
            BuildStopped: `stop` was set.
        """
        started = time.perf_counter()
        try:
            chosen = selection.select(
                self.engine, file.path, file.ending, self.gpu, selection.look(self.gpu)
            )
            _log.info(
                "engine.chosen", path=str(file.path), engine=chosen.engine, message=chosen.reason
            )
            content = model_files.content_hash(file.path)
            engine = self._engine(chosen.engine, file, content)
            try:
                metadata = Metadata.parse(engine.metadata, file.path)
                model = Model(
                    file=file,
                    engine=engine,
                    metadata=metadata,
                    longest=_longest_side(file, engine, metadata, self.max_input),
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

    def _engine(self, name: str, file: ModelFile, content: str) -> Engine:
        engines.module(name, file.path)  # before half a minute goes into an export for it
        source, builds = file.path, BuildCache(file.path, content)
        if kind := engines.needs_export(name, file.ending):
            source = exported(source, content, kind, allow_unsafe=self.allow_unsafe, stop=self.stop)
        options = engines.EngineOptions(
            precision=self.precision,
            parallel=self.parallel,
            cache=builds.writable(),
            builds=builds,
            content=content,
            gpu=self.gpu,
            max_input=self.max_input,
            allow_unsafe=self.allow_unsafe,
            stop=self.stop,
        )
        return engines.load(name, source, options)


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
    except DeviceFullError as error:
        raise ModelError(f"{model.file.path}: {error}") from error
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
