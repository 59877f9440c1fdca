"""PyTorch, on a CUDA device or the processor: weights (.pt) as they are, without an export.

On a GPU in half precision; the processor is better served by OpenVINO, and this engine by tests there.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from detector_service.builds import export, weights
from detector_service.engines.on_device import DeviceEngine
from detector_service.errors import ModelError

if TYPE_CHECKING:
    from detector_service.engines import EngineOptions


class TorchEngine(DeviceEngine):
    """One model in PyTorch.

    Raises:
        ModelError: the file cannot be loaded, or the precision is none of the device's.
    """

    name = "torch"

    def __init__(self, path: Path, options: "EngineOptions") -> None:
        on_gpu = options.gpu.use and torch.cuda.is_available()
        device = f"cuda:{torch.cuda.current_device()}" if on_gpu else "cpu"
        precision = _choose_precision(options.precision, on_gpu=on_gpu)
        # On a GPU there is little left to compute beside it; on a processor one batch runs at a time.
        if on_gpu:
            torch.set_num_threads(1)
        elif options.threads:
            torch.set_num_threads(options.threads)
        if on_gpu:
            torch.cuda.set_per_process_memory_fraction(options.gpu.memory_fraction, device)
            torch.backends.cudnn.allow_tf32 = False  # fp32 is to be just that
        export.check_archive(path)
        try:
            with tempfile.TemporaryDirectory(prefix="crowd-detector-") as workplace:
                network = weights.load(
                    path, options.content, Path(workplace), allow_unsafe=options.allow_unsafe
                ).model
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
        network = network.eval().requires_grad_(False).fuse(verbose=False)
        metadata = weights.metadata(network)
        kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
        try:
            network = network.to(device=device, dtype=kind, memory_format=torch.channels_last)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{path}: it does not fit into the memory of {device}; raise GPU_MEMORY_FRACTION, or end what "
                "else uses the GPU"
            ) from error
        head = network.model[-1]
        if kind != torch.float32:
            _decode_in_full(head)
        super().__init__(
            lambda pictures: network(pictures)[0],
            metadata,
            device=device,
            precision=precision,
            pictures=kind,
            batch=options.gpu.batch,
            # The places of boxes, which a head makes anew for another shape, and then forgets.
            keep=(lambda: (head.anchors, head.strides)) if options.gpu.graphs else None,
        )


def _decode_in_full(head: Any) -> None:
    """Let a head turn its answers into boxes and scores at 32 bits, whatever the network computes in.

    At 16 bits the edges of boxes, in pixels of the input, would be off by up to some pixels. The steps are
    ``Detect._inference`` of ultralytics 8.4 (``nn/modules/head.py``).
    """
    head.dfl.float()
    decode = head._inference  # noqa: SLF001 - there is no other place between the two

    def in_full(answers: dict[str, Any]) -> Any:
        return decode(
            {
                "boxes": answers["boxes"].float(),
                "scores": answers["scores"].float(),
                # Only their sizes and their type matter from here on.
                "feats": [
                    torch.empty_like(level, dtype=torch.float32) for level in answers["feats"]
                ],
            }
        )

    head._inference = in_full  # noqa: SLF001


def _choose_precision(wanted: str, *, on_gpu: bool) -> str:
    if wanted == "auto":
        return "fp16" if on_gpu else "fp32"
    if wanted == "int8":
        raise ModelError(
            "PRECISION=int8: PyTorch does not compute in it, TensorRT does; set TENSORRT_ENABLED=true, or PRECISION=auto"
        )
    if wanted == "fp16" and not on_gpu:
        raise ModelError(
            "PRECISION=fp16: this is for GPUs, and the model runs on the processor; set PRECISION=auto"
        )
    return wanted
