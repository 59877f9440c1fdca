"""OpenVINO on the processor: ONNX files and OpenVINO IR folders.

Every size can be served at once by one model compiled for any size. A size that keeps coming, as a
camera's does, gets a model compiled for it alone, in the background, which is about a quarter faster.
A few of those are kept, and one in use is never given up for another, so that a client that keeps
changing its frames' shape costs no more than the slower model.
"""

import sys
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from detector_service.builds.cache import note_compiled
from detector_service.engines.base import Batch, InputShape, Predictions, Prepared
from detector_service.errors import ModelError

if TYPE_CHECKING:
    from detector_service.engines import EngineOptions

# Importing OpenVINO reports to its maker, from a process that it forks, unless this module is missing;
# OpenVINO has a stand-in for that case. A fork would also break gRPC's threads.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402
from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: E402

_log = structlog.get_logger()

#: Sizes with a compiled model of their own; each takes some 10 MB (YOLO11n at 416).
_KEPT_SIZES: Final = 6
#: How often a size is seen before it gets one: a camera's is, a stray picture's is not.
_COMPILE_AFTER: Final = 4
#: A kept size makes room for another once this many images have come since it was last seen.
_UNUSED_AFTER: Final = 1000

Size = tuple[int, int]


class OpenVINOEngine:
    """One model on the processor, run by `parallel` requests at once.

    Raises:
        ModelError: the file is damaged, is no single-input image model, cannot be compiled, or bf16
            was demanded of a processor that has none.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, path: Path, options: "EngineOptions") -> None:
        self._core = ov.Core()
        self.precision = choose_precision(options.precision)
        source = _graph_file(path)
        self._config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
            # One inference a thread, side by side: see docs/performance.md. OpenVINO itself would count
            # the machine's cores, and not those that this process may use.
            "NUM_STREAMS": min(options.parallel, options.threads or options.parallel),
            # A thread that is tied to a core waits for it while another core is free: behind a worker that decodes,
            # or behind the other one of two models.
            "ENABLE_CPU_PINNING": False,
        }
        if options.threads:
            self._config["INFERENCE_NUM_THREADS"] = options.threads
        cached = {"CACHE_DIR": str(options.cache)} if options.cache else {}
        try:
            graph = self._core.read_model(source)
            self.metadata: Mapping[str, str] = _metadata(graph, source)
            _take_no_more_than_there_are(graph)
            self._graph = _with_preprocessing(graph, path)
            #: Serves whatever size comes.
            self.any_size = self._core.compile_model(self._graph, "CPU", self._config | cached)
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        shape = list(self._graph.input().partial_shape)
        self._fixed = not self._graph.input().partial_shape.is_dynamic
        self.input_shape = InputShape(
            *(None if side.is_dynamic else side.get_length() for side in shape[1:3])
        )
        self._cache, self._cached = options.cache, cached
        self._lock = threading.Lock()
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._compiling: Size | None = None
        self.batches: Counter[int] = Counter()  # none: each image is run by itself
        self._images = 0
        self._seen: Counter[Size] = Counter()
        self._failed: set[Size] = set()
        self._own: dict[Size, Any] = {}
        self._last_seen: dict[Size, int] = {}

    def request(self) -> "OpenVINORequest":
        """Return a request of its own for a worker thread."""
        return OpenVINORequest(self)

    def prepare(self, height: int, width: int) -> None:
        """Compile for this size now, unless that is done or the model has one size only."""
        size = (height, width)
        if not self._fixed and size not in self._own:
            model = self._compile(size, self._cached)
            with self._lock:
                self._keep(size, model)
        if self._cache is not None:
            note_compiled(self._cache)

    def model_for(self, size: Size) -> Any:
        """Return the compiled model that serves this size best just now."""
        with self._lock:
            self._images += 1
            if (own := self._own.get(size)) is not None:
                self._last_seen[size] = self._images
                return own
            if not self._fixed and self._compiling is None and self._deserves_its_own(size):
                self._compiling = size
                self._compiler.submit(self._compile_in_background, size)
            return self.any_size

    def keeps(self, size: Size, model: Any) -> bool:
        """Return whether this is still the model of its own that the size has."""
        return self._own.get(size) is model

    def close(self) -> None:
        """Stop compiling and let go of the models; may be called twice."""
        self._compiler.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._own.clear()

    def _deserves_its_own(self, size: Size) -> bool:
        if size in self._failed:
            return False
        self._seen[size] += 1
        if self._seen[size] < _COMPILE_AFTER:
            if len(self._seen) > 100:  # noqa: PLR2004 - more than any model has sizes
                self._seen.clear()
            return False
        return self._has_room()

    def _has_room(self) -> bool:
        """Return whether a size can be kept without giving up one that is in use."""
        if len(self._own) < _KEPT_SIZES:
            return True
        return self._images - min(self._last_seen.values()) > _UNUSED_AFTER

    def _keep(self, size: Size, model: Any) -> None:
        if len(self._own) >= _KEPT_SIZES:
            longest_unused = min(self._own, key=lambda kept: self._last_seen[kept])
            del self._own[longest_unused], self._last_seen[longest_unused]
        self._own[size] = model
        self._last_seen[size] = self._images

    def _compile_in_background(self, size: Size) -> None:
        try:
            # Not cached on disk: clients choose sizes, and must not fill the disk with them.
            model = self._compile(size, {})
            with self._lock:
                del self._seen[size]
                if self._has_room():  # the one to make room may have come back meanwhile
                    self._keep(size, model)
        except RuntimeError:
            # The size goes on being served by the model for any size.
            _log.warning(
                "model.compile_failed",
                height=size[0],
                width=size[1],
                message="the model for any size serves this one, more slowly; the exception says why",
                exc_info=True,
            )
            with self._lock:
                self._failed.add(size)
        finally:
            with self._lock:
                self._compiling = None

    def _compile(self, size: Size, cached: dict[str, Any]) -> Any:
        graph = self._graph.clone()
        graph.reshape([1, *size, 3])
        return self._core.compile_model(graph, "CPU", self._config | cached)


class OpenVINORequest:
    """One thread's inference requests and input buffers: for each size of its own, and for any other."""

    def __init__(self, engine: OpenVINOEngine) -> None:
        self.batch: Batch | None = None  # each image is inferred alone
        self._engine = engine
        self._any_size = engine.any_size.create_infer_request()
        self._own: dict[Size, tuple[Any, Any, Prepared]] = {}
        self._current: tuple[Any, Prepared] | None = None
        self._running = False

    def buffer(self, height: int, width: int) -> Prepared:
        """Return the input buffer of this size, shape (1, height, width, 3)."""
        if self._running:
            with suppress(RuntimeError):  # of an earlier image, which nobody waits for any more
                self.wait()
        size = (height, width)
        model = self._engine.model_for(size)
        if model is self._engine.any_size:
            request, images = self._any_size, _buffer_of(self._any_size, size)
        else:
            if size not in self._own or self._own[size][0] is not model:
                self._forget_what_is_not_kept()
                request = model.create_infer_request()
                self._own[size] = (model, request, _buffer_of(request, size))
            _, request, images = self._own[size]
        self._current = (request, images)
        return images

    def start(self, images: Prepared, threshold: float) -> None:
        """Begin to run the model on what was prepared in `buffer`; all its predictions will come."""
        del threshold
        assert self._current is not None, "`buffer` comes first"
        request, current = self._current
        assert images is current, "only what `buffer` gave last can be inferred"
        request.start_async()
        self._running = True

    def wait(self) -> Predictions:
        """Return the raw predictions once they are there; valid until the next call of `buffer`."""
        assert self._current is not None, "`start` comes first"
        self._running = False
        request, _ = self._current
        request.wait()
        predictions: Predictions = request.get_output_tensor(0).data
        return predictions

    def _forget_what_is_not_kept(self) -> None:
        self._own = {
            size: slot for size, slot in self._own.items() if self._engine.keeps(size, slot[0])
        }


def choose_precision(wanted: str) -> str:
    """Return the precision that this processor computes in.

    Raises:
        ModelError: it cannot compute in what is wanted.
    """
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "auto":
        return "bf16" if has_bf16 else "fp32"
    if wanted == "bf16" and not has_bf16:
        raise ModelError(
            "PRECISION=bf16: this processor has no bf16 instructions (AVX-512 BF16 or AMX); "
            "set PRECISION=auto or PRECISION=fp32"
        )
    if wanted in ("fp16", "int8"):
        raise ModelError(
            f"PRECISION={wanted}: this is for GPUs, and the model runs on the processor; set PRECISION=auto"
        )
    return wanted


def read_metadata(path: Path) -> dict[str, str]:
    """Return what the exporter wrote about a model, without making it ready to run.

    Raises:
        ModelError: the file is damaged.
    """
    source = _graph_file(path)
    try:
        return _metadata(ov.Core().read_model(source), source)
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: RuntimeError) -> ModelError:
    return ModelError(
        f"{path}: OpenVINO cannot read it ({_last_line(error)}); "
        "export the model again with `yolo export format=onnx dynamic=True`"
    )


def _buffer_of(request: Any, size: Size) -> Prepared:
    """Return a request's input buffer, made anew if the one it has is of another size."""
    tensor = request.get_input_tensor(0)
    if tuple(tensor.shape) != (1, *size, 3):
        tensor = ov.Tensor(ov.Type.u8, ov.Shape([1, *size, 3]))
        request.set_input_tensor(tensor)
    images: Prepared = tensor.data
    return images


def _graph_file(path: Path) -> Path:
    """Return the file to read: an ONNX file or .xml itself, or the one .xml in an IR folder."""
    if not path.is_dir():
        return path
    graphs = sorted(path.glob("*.xml"))
    if len(graphs) != 1:
        raise ModelError(
            f"{path}: an OpenVINO folder holds one .xml file, this one holds {len(graphs)}; "
            "name the .xml file itself, or export the model again with `yolo export format=openvino`"
        )
    return graphs[0]


def _metadata(graph: Any, source: Path) -> dict[str, str]:
    """Read what the exporter wrote: into the ONNX file itself, or into a file beside the IR."""
    beside = source.parent / "metadata.yaml"
    if source.suffix == ".xml" and beside.is_file():
        import yaml  # noqa: PLC0415 - for IR folders only

        try:
            loaded = yaml.safe_load(beside.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ModelError(f"{beside}: cannot be read ({_last_line(error)})") from error
        return {str(k): str(v) for k, v in loaded.items()} if isinstance(loaded, dict) else {}
    if not graph.has_rt_info(["framework"]):
        return {}
    return {key: value.astype(str) for key, value in graph.get_rt_info()["framework"].items()}


def _take_no_more_than_there_are(graph: Any) -> None:
    """Let the graph pick the best of however few candidates a small input has.

    Ultralytics' export of an NMS-free head fixes how many it picks, 300, which fails for an input
    with fewer places; its PyTorch model picks no more than there are.
    """
    for node in graph.get_ops():
        if node.get_type_name() != "TopK":
            continue
        data, count = node.input_value(0), node.input_value(1)
        axis = ops.constant(node.get_attributes()["axis"], np.int64)
        there_are = ops.gather(ops.shape_of(data), axis, ops.constant(0, np.int64))
        wanted = ops.convert(count, "i64")
        node.input(1).replace_source_output(ops.minimum(wanted, there_are).output(0))
    graph.validate_nodes_and_infer_types()


def _with_preprocessing(graph: Any, path: Path) -> Any:
    """Let the graph begin with the pixels as they lie in memory: uint8, rows, blue-green-red."""
    inputs = graph.inputs
    if len(inputs) != 1 or not _is_image(inputs[0].partial_shape):
        raise ModelError(
            f"{path}: not an image model: its inputs are {[str(i.partial_shape) for i in inputs]}, "
            "one of the shape (batch, 3, height, width) is needed"
        )
    steps = PrePostProcessor(graph)
    tensor = steps.input().tensor()
    tensor.set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(
        ColorFormat.BGR
    )
    to_model = steps.input().preprocess()
    to_model.convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB).scale(255.0)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _is_image(shape: Any) -> bool:
    return bool(shape.rank == ov.Dimension(4) and shape[1] == ov.Dimension(3))


def _last_line(error: Exception) -> str:
    """OpenVINO's errors end with the cause, below the places in its source they passed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
