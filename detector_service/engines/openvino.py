"""OpenVINO on the processor: ONNX files and OpenVINO IR folders.

Every shape can be served at once by one model compiled for any size. A size that keeps coming, as a
camera's does, gets a model compiled for it alone, in the background, which is about a quarter faster;
the most recent few of those are kept.
"""

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from detector_service.engines.base import InputShape, Predictions, Prepared
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

#: Sizes with a compiled model of their own; each holds some 10 MB (a YOLO11n at 416).
_KEPT_SIZES: Final = 8
#: Times that a size is seen before it gets one: a camera's is, a stray picture's is not.
_SIGHTINGS: Final = 4

Size = tuple[int, int]


class OpenVINOEngine:
    """One model on the processor, run by `parallel` requests at once.

    Raises:
        ModelError: the file is damaged, is no single-input image model, or bf16 was demanded of a
            processor that has none.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, path: Path, options: "EngineOptions") -> None:
        self._core = ov.Core()
        self.precision = self._choose_precision(options)
        source = _graph_file(path)
        self.file_format = "onnx" if source.suffix == ".onnx" else "openvino"
        try:
            graph = self._core.read_model(source)
        except RuntimeError as error:
            raise ModelError(
                f"{path}: OpenVINO cannot read it ({_first_line(error)}); "
                "export the model again with `yolo export format=onnx dynamic=True`"
            ) from error
        self.metadata: Mapping[str, str] = _metadata(graph, source)
        _take_no_more_than_there_are(graph)
        self._graph = _with_preprocessing(graph, path)
        shape = self._graph.input().partial_shape
        self.input_shape = InputShape(
            *(None if d.is_dynamic else d.get_length() for d in list(shape)[1:3])
        )
        self._config = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
            "NUM_STREAMS": options.parallel,
            "CACHE_DIR": str(options.cache),
        }
        self._lock = threading.Lock()
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._sightings: Counter[Size] = Counter()
        self._by_size: OrderedDict[Size, Any] = OrderedDict()
        self._any_size = self._compile(self._graph)

    def request(self) -> "OpenVINORequest":
        """Give a request of its own to a worker thread."""
        return OpenVINORequest(self)

    def prepare(self, height: int, width: int) -> None:
        """Compile for this size now, unless that is done or the model has one size only."""
        size = (height, width)
        with self._lock:
            if size in self._by_size or not self._any_size.input().partial_shape.is_dynamic:
                return
        graph = self._graph.clone()
        graph.reshape([1, height, width, 3])
        compiled = self._compile(graph)
        with self._lock:
            self._by_size[size] = compiled
            while len(self._by_size) > _KEPT_SIZES:
                self._by_size.popitem(last=False)

    def model_for(self, size: Size) -> Any:
        """Give the compiled model that serves this size best just now."""
        with self._lock:
            if (own := self._by_size.get(size)) is not None:
                self._by_size.move_to_end(size)
                return own
            self._sightings[size] += 1
            if self._sightings[size] == _SIGHTINGS:
                del self._sightings[
                    size
                ]  # so that a size that was dropped can earn its place again
                if self._any_size.input().partial_shape.is_dynamic:
                    self._compiler.submit(self._prepare_in_background, size)
            elif len(self._sightings) > 16 * _KEPT_SIZES:
                self._sightings.clear()
            return self._any_size

    def close(self) -> None:
        """Stop compiling and let go of the models."""
        self._compiler.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._by_size.clear()

    def _prepare_in_background(self, size: Size) -> None:
        try:
            self.prepare(*size)
        except RuntimeError:
            # The size goes on being served by the model for any size.
            _log.warning("model.compile_failed", height=size[0], width=size[1], exc_info=True)

    def _choose_precision(self, options: "EngineOptions") -> str:
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if options.precision == "auto":
            return "bf16" if has_bf16 else "fp32"
        if options.precision == "bf16" and not has_bf16:
            raise ModelError(
                "PRECISION=bf16: this processor has no bf16 instructions (AVX-512 BF16 or AMX); "
                "set PRECISION=auto or PRECISION=fp32"
            )
        return options.precision

    def _compile(self, graph: Any) -> Any:
        return self._core.compile_model(graph, "CPU", self._config)


class OpenVINORequest:
    """One thread's buffers and inference requests, one for each size it has lately seen."""

    def __init__(self, engine: OpenVINOEngine) -> None:
        self._engine = engine
        self._slots: OrderedDict[Size, tuple[Any, Any, Prepared]] = OrderedDict()

    def buffer(self, height: int, width: int) -> Prepared:
        """Give the input buffer of this size, shape (1, height, width, 3)."""
        return self._slot((height, width))[2]

    def infer(self, images: Prepared) -> Predictions:
        """Run the model on what was prepared in `buffer`; the result is valid until the next call."""
        _, request, buffer = self._slot((images.shape[1], images.shape[2]), seen=True)
        if buffer is not images:
            buffer[:] = images  # prepared just before the size got a model of its own
        request.infer()
        predictions: Predictions = request.get_output_tensor(0).data
        return predictions

    def _slot(self, size: Size, *, seen: bool = False) -> tuple[Any, Any, Prepared]:
        slot = self._slots.get(size)
        if slot is not None and seen:
            return slot
        model = self._engine.model_for(size)
        if slot is None or slot[0] is not model:
            request = model.create_infer_request()
            buffer = np.empty((1, *size, 3), np.uint8)
            request.set_input_tensor(ov.Tensor(buffer, shared_memory=True))
            slot = self._slots[size] = (model, request, buffer)
            while len(self._slots) > _KEPT_SIZES:
                self._slots.popitem(last=False)
        self._slots.move_to_end(size)
        return slot


def _graph_file(path: Path) -> Path:
    """Give the file to read: an ONNX file or .xml itself, or the one .xml in an IR folder."""
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
            raise ModelError(f"{beside}: cannot be read ({_first_line(error)})") from error
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
    shape = inputs[0].partial_shape
    if len(inputs) != 1 or shape.rank != ov.Dimension(4) or shape[1] != ov.Dimension(3):
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


def _first_line(error: Exception) -> str:
    """OpenVINO's errors end with the cause, below the places in its source they passed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
