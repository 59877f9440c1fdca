"""CUDA graphs: all that a GPU does with a batch, recorded once and replayed with one order.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from detector_service.engines.recordings import Shape

#: Passes before the recording, in which libraries choose their kernels and take their memory.
_WARM_UP: Final = 3
#: Held while something is recorded. Before it begins, PyTorch waits for all that the GPU does and gives memory back,
#: which spoils a recording that another thread, of another model, is at.
_RECORDING: Final = threading.Lock()


def give_back_memory() -> None:
    """Give the GPU's memory back that nothing uses."""
    with _RECORDING:
        torch.cuda.empty_cache()


class GraphRecording:
    """What a function does with a batch of one shape; its tensors stay where they are.

    Raises:
        RuntimeError: it does something that cannot be recorded, or the GPU's memory does not suffice.
    """

    def __init__(
        self, predict: Callable[[Any], Any], keep: Callable[[], object], shape: Shape, device: str
    ) -> None:
        """Record, on the current stream, which must be of this model alone.

        Recordings of one stream share memory in which libraries compute, and so may not be replayed side by side; and
        what another thread gave the stream to do meanwhile would be recorded instead of done.

        Args:
            predict: gives predictions for pixels, shape (images, height, width, 3), uint8.
            keep: gives what `predict` made before and reads again: what is replayed reads it where it lay.
            shape: of the batch.
            device: the GPU.
        """
        self._pixels: Final = torch.zeros((*shape, 3), dtype=torch.uint8, device=device)
        for _ in range(_WARM_UP):
            predict(self._pixels)
        self._kept: Final = keep()
        self._graph: Final[Any] = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        # Other threads go on copying images to the GPU meanwhile, and are no part of it.
        with (
            _RECORDING,
            torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self._predictions: Final = predict(self._pixels)

    def __call__(self, images: Sequence[Any]) -> Any:
        """Return the predictions for images, each of the shape (1, height, width, 3); valid until the next call."""
        for place, image in enumerate(images):
            self._pixels[place].copy_(image[0], non_blocking=True)
        self._graph.replay()
        return self._predictions[: len(images)]
