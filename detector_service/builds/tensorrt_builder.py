"""The builder of TensorRT engines, from ONNX, for one kind of GPU; takes minutes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import onnx
import tensorrt

from detector_service.builds import child
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
    if order["precision"] == "fp16":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    profile.set_shape(
        network.get_input(0).name,
        min=(1, 3, _SHORTEST, _SHORTEST),
        opt=(batch, 3, longest, longest),
        max=(batch, 3, longest, longest),
    )
    config.add_optimization_profile(profile)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise ModelError(
            f"{path}: TensorRT cannot build it for this GPU; lower ENGINE_BATCH or MAX_FRAME_SIZE, or set "
            "TENSORRT_ENABLED=false"
        )
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    (folder / "model.engine").write_bytes(engine_file.join(metadata, bytes(serialised)))


if __name__ == "__main__":
    child.take(_build)
