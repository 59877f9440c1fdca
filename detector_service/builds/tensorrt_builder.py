"""The builder of TensorRT engines, from ONNX, for one kind of GPU; takes minutes."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
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
    metadata = _metadata(data, path)
    smallest, largest = _shapes(network.get_input(0).shape, metadata, order, path)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, order["workspace"])
    if order["precision"] in ("fp16", "int8"):  # in 8 bits, what does not gain by them stays in 16
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if order["precision"] == "bf16":
        config.set_flag(tensorrt.BuilderFlag.BF16)
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, min=smallest, opt=largest, max=largest)
    config.add_optimization_profile(profile)
    if order["precision"] == "int8":
        photos = [Path(photo) for photo in order["photographs"]]
        images, _, height, width = largest
        if height != width:
            raise ModelError(
                f"{path}: PRECISION=int8 is for models that take any size, this one's is {width} x {height}; export "
                "it with `dynamic=True`, or set PRECISION=auto"
            )
        config.set_flag(tensorrt.BuilderFlag.INT8)
        config.set_calibration_profile(profile)
        config.int8_calibrator = _Calibrator(calibration.batches(photos, images, height), images)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise ModelError(
            f"{path}: TensorRT cannot build it for this GPU; lower ENGINE_BATCH or MAX_FRAME_SIZE, or set "
            "TENSORRT_ENABLED=false"
        )
    described = engine_file.join({**metadata, "precision": order["precision"]}, bytes(serialised))
    (folder / "model.engine").write_bytes(described)


def _metadata(data: bytes, path: Path) -> dict[str, str]:
    """Return what the exporter wrote into an ONNX file; it is wanted before minutes go into building."""
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    if "names" not in metadata:
        raise ModelError(
            f"{path}: it carries no Ultralytics metadata (names, stride, imgsz); export the model with "
            "`yolo export format=onnx dynamic=True`"
        )
    return metadata


def _shapes(
    declared: Sequence[int], metadata: Mapping[str, str], order: Mapping[str, Any], path: Path
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the smallest and the largest shape of an input: any that will come, unless the model fixes it.

    Larger than what the model was made for none comes; so is what TensorRT is calibrated and tuned with.

    Args:
        declared: the model's own, (batch, 3, height, width), -1 where it takes any.
        metadata: the exporter's.
        order: has "batch" and "longest", what is wanted at most.
        path: of the file, for messages.
    """
    try:
        size = ast.literal_eval(metadata.get("imgsz", "640"))
        longest = min(order["longest"], max(size) if isinstance(size, list) else int(size))
        smallest, largest = (
            tuple(side if side > 0 else most for side, most in zip(declared, wanted, strict=True))
            for wanted in (
                (1, 3, _SHORTEST, _SHORTEST),
                (order["batch"], 3, longest, longest),
            )
        )
    except (ValueError, TypeError, SyntaxError) as error:
        raise ModelError(
            f"{path}: not an image model of Ultralytics' ({error}); export the model again with "
            "`yolo export format=onnx dynamic=True`"
        ) from error
    return smallest, largest


class _Calibrator(tensorrt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # it ships no types
    """Shows TensorRT photographs, a batch at a time; the names of its methods are TensorRT's.

    Raises:
        ModelError: none can be read. Said here, for TensorRT passes over what `get_batch` raises.
    """

    def __init__(self, batches: Iterator[NDArray[np.float32]], images: int) -> None:
        super().__init__()
        self._batches: Final = chain([next(batches)], batches)
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
