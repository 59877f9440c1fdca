"""The builder of TensorRT engines, from ONNX, for one kind of GPU; takes minutes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import tensorrt
import torch
from numpy.typing import NDArray

from detector_service.builds import calibration, child
from detector_service.engines import engine_file
from detector_service.errors import ModelError

#: The shortest side of an input, in pixels: a stride.
_SHORTEST: Final = 32


def _build(order: Mapping[str, Any]) -> None:
    path, folder = Path(order["source"]), Path(order["folder"])
    batch, longest = order["batch"], order["longest"]
    data = path.read_bytes()
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(data):
        raise ModelError(
            f"{path}: TensorRT cannot read it ({parser.get_error(0)}); export the model again with "
            "`yolo export format=onnx dynamic=True`"
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, order["workspace"])
    if order["precision"] in ("fp16", "int8"):  # in 8 bits, what does not gain by them stays in 16
        config.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    profile.set_shape(
        network.get_input(0).name,
        min=(1, 3, _SHORTEST, _SHORTEST),
        opt=(batch, 3, longest, longest),
        max=(batch, 3, longest, longest),
    )
    config.add_optimization_profile(profile)
    if order["precision"] == "int8":
        photos = [Path(photo) for photo in order["photographs"]]
        config.set_flag(tensorrt.BuilderFlag.INT8)
        config.set_calibration_profile(profile)
        config.int8_calibrator = _Calibrator(calibration.batches(photos, batch, longest), batch)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise ModelError(
            f"{path}: TensorRT cannot build it for this GPU; lower ENGINE_BATCH or MAX_FRAME_SIZE, or set "
            "TENSORRT_ENABLED=false"
        )
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    metadata["precision"] = order["precision"]
    (folder / "model.engine").write_bytes(engine_file.join(metadata, bytes(serialised)))


class _Calibrator(tensorrt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # it ships no types
    """Shows TensorRT photographs, a batch at a time; the names of its methods are TensorRT's."""

    def __init__(self, batches: Iterator[NDArray[np.float32]], images: int) -> None:
        super().__init__()
        self._batches: Final = batches
        self._images: Final = images
        self._there: Any = None

    def get_batch_size(self) -> int:
        return self._images

    def get_batch(self, _names: list[str]) -> list[int] | None:
        shown = next(self._batches, None)
        if shown is None:
            return None
        self._there = torch.from_numpy(shown).cuda()  # held until the next
        return [self._there.data_ptr()]

    def read_calibration_cache(self) -> None:
        """Have none: the built engine is what is kept."""

    def write_calibration_cache(self, _cache: bytes) -> None:
        """Keep none."""


if __name__ == "__main__":
    child.take(_build)
