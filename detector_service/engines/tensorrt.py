"""TensorRT on a GPU: engines that were built for it, or that are built once from ONNX or weights.

What happens around the model is that of every device (`on_device`); here it is only built and run.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorrt
import torch

from detector_service.builds import calibration, child
from detector_service.builds.cache import BuildName
from detector_service.engines import engine_file
from detector_service.engines.base import InputShape
from detector_service.engines.on_device import DeviceEngine
from detector_service.errors import ModelError

if TYPE_CHECKING:
    from detector_service.engines import EngineOptions

_ROOM: Final = 512 << 20
_WORKSPACE: Final = 2 << 30


class TensorRTEngine(DeviceEngine):
    """One model in TensorRT.

    Raises:
        ModelError: there is no GPU, the file is no engine or one for another GPU or TensorRT, or none
            can be built.
        BuildStopped: it is not wanted any more.
    """

    name = "tensorrt"

    def __init__(self, path: Path, options: "EngineOptions") -> None:
        if not (options.gpu.use and torch.cuda.is_available()):
            raise ModelError(
                f"{path}: TensorRT needs a GPU of NVIDIA's that PyTorch can use, and USE_GPU; there is none "
                "here: give weights (.pt) or ONNX, with ENGINE=auto"
            )
        device = f"cuda:{torch.cuda.current_device()}"
        torch.cuda.set_per_process_memory_fraction(options.gpu.memory_fraction, device)
        file = path if path.suffix == ".engine" else built(path, options)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
        metadata, serialised = engine_file.split(data, file)
        runs = _Runs(serialised, file)
        self.input_shape = runs.input_shape
        super().__init__(
            runs,
            metadata,
            device=device,
            precision=metadata.get("precision", runs.precision),
            pictures=runs.type,
            batch=min(options.gpu.batch, runs.batch),
        )


class _Runs:
    """The engine as a function of pictures; called by one thread at a time, on its current stream."""

    def __init__(self, serialised: bytes, path: Path) -> None:
        self._runtime: Final = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self._engine: Final = self._runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise ModelError(
                f"{path}: this engine was built for another GPU or another TensorRT than "
                f"{torch.cuda.get_device_name()} and {tensorrt.__version__}, or it is damaged; build it here, or "
                "give the weights (.pt) with TENSORRT_ENABLED=true"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = tensorrt.TensorIOMode.INPUT
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == is_input]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{path}: it has {len(inputs)} inputs and {len(outputs)} outputs, not one of each"
            )
        (self._input,), (self._output,) = inputs, outputs
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._input, 0)
        if smallest[0] != 1:
            raise ModelError(
                f"{path}: it takes batches of {smallest[0]} or more images only; build it with `dynamic=True`"
            )
        self.batch: Final[int] = largest[0]
        self.input_shape: Final = InputShape(
            *(
                most if least == most else None
                for least, most in zip(smallest[2:], largest[2:], strict=True)
            )
        )
        kinds = {tensorrt.DataType.FLOAT: torch.float32, tensorrt.DataType.HALF: torch.float16}
        self._types: Final = {
            name: kinds.get(self._engine.get_tensor_dtype(name)) for name in (*inputs, *outputs)
        }
        if None in self._types.values():
            raise ModelError(
                f"{path}: its input and output are numbers of another kind than 32 and 16 bits; build it here, or "
                "give the weights (.pt) with TENSORRT_ENABLED=true"
            )
        self.type: Final = self._types[self._input]
        #: As far as the engine itself shows it; what is built here says more in its metadata.
        self.precision: Final = "fp16" if self.type == torch.float16 else "fp32"
        self._context: Final = self._engine.create_execution_context()
        if self._context is None:
            raise ModelError(
                f"{path}: the GPU's memory does not suffice; lower ENGINE_BATCH or MAX_FRAME_SIZE and build it again"
            )

    def __call__(self, pictures: Any) -> Any:
        """Return raw predictions for pictures, shape (batch, 3, height, width)."""
        pictures = pictures.to(self._types[self._input]).contiguous()
        if not self._context.set_input_shape(self._input, tuple(pictures.shape)):
            raise RuntimeError(f"the engine does not take {tuple(pictures.shape)}")
        predictions = torch.empty(
            tuple(self._context.get_tensor_shape(self._output)),
            dtype=self._types[self._output],
            device=pictures.device,
        )
        self._context.set_tensor_address(self._input, pictures.data_ptr())
        self._context.set_tensor_address(self._output, predictions.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError(
                "TensorRT could not run the engine; its messages are in the service's output"
            )
        return predictions


def built(source: Path, options: "EngineOptions") -> Path:
    """Return the engine that was built of an ONNX file, or of the folder that weights were exported to.

    Raises:
        ModelError: none can be built.
        BuildStopped: it is not wanted any more.
    """
    onnx = next(source.glob("*.onnx")) if source.is_dir() else source
    precision = "fp16" if options.precision == "auto" else options.precision
    photos: list[Path] = []
    made_for: str = precision
    if precision == "int8":
        assert options.gpu.calibration is not None, "the settings demand it"
        photos = calibration.photographs(options.gpu.calibration)
        made_for += f"-{calibration.fingerprint(photos)}"
    gpu = re.sub(r"\W+", "_", torch.cuda.get_device_name())
    name = BuildName(
        "tensorrt",
        f"{options.gpu.batch}x{options.max_input}",
        f"tensorrt-{tensorrt.__version__}-{gpu}-{made_for}",
    )
    assert options.builds is not None, "what is loaded for the service has a cache"
    if (found := options.builds.find(name)) is not None:
        return found / "model.engine"
    order = {
        "source": str(onnx.resolve()),
        "batch": options.gpu.batch,
        "longest": options.max_input // 32 * 32,
        "precision": precision,
        "photographs": [str(photo.resolve()) for photo in photos],
        "workspace": _WORKSPACE,
    }
    folder = options.builds.build(
        name,
        lambda to: child.give("detector_service.builds.tensorrt_builder", order, to, options.stop),
        needed_bytes=4 * onnx.stat().st_size + _ROOM,
        stop=options.stop,
    )
    return folder / "model.engine"
