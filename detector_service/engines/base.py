"""What an engine is: it takes prepared images and gives raw predictions, and knows nothing else."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Shape (batch, height, width, 3), channels blue, green, red, as `detection.letterbox` lays them out.
Prepared: TypeAlias = NDArray[np.uint8]

#: As the model gives it: (batch, 4 + classes, anchors), or (batch, detections, 6) where NMS is built in.
Predictions: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Batch:
    """Images that were run together.

    Attributes:
        images: how many.
        began: by `time.perf_counter`.
        ended: likewise.
    """

    images: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class InputShape:
    """What a model demands of its input; None means any size."""

    height: int | None
    width: int | None


class Request(Protocol):
    """What one worker thread holds of an engine: its own input buffers, its own inference.

    Used by one thread at a time; several requests of one engine run at once.

    Attributes:
        batch: that the image was in which was waited for last; None where the engine makes none.
    """

    batch: Batch | None

    def buffer(self, height: int, width: int) -> Prepared:
        """Return the buffer to prepare one image of this size in, shape (1, height, width, 3).

        It stays the request's own: whatever an earlier call prepared in it is overwritten. What was
        started and not waited for is waited for here.
        """
        ...

    def start(self, images: Prepared, threshold: float) -> None:
        """Begin to run the model on what was prepared in the buffer that `buffer` returned last.

        Args:
            images: that buffer; it may be read, and not written, until `wait` has returned.
            threshold: what scores no more may be left out of the predictions.
        """
        ...

    def wait(self) -> Predictions:
        """Return the raw predictions once they are there; valid until the next call of `buffer`."""
        ...


class Engine(Protocol):
    """One model, loaded; requests of it may be made from any thread."""

    @property
    def name(self) -> str:
        """What runs the model: "openvino"."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0"."""
        ...

    @property
    def precision(self) -> str:
        """Of the arithmetic: "fp32", "bf16"."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the exporter wrote beside the weights."""
        ...

    @property
    def input_shape(self) -> InputShape:
        """The sizes that the model demands."""
        ...

    @property
    def batches(self) -> Counter[int]:
        """Batches that it has run, by the images in them; none where it runs each image by itself."""
        ...

    def request(self) -> Request:
        """Return a request of its own for a worker thread."""
        ...

    def prepare(self, height: int, width: int) -> None:
        """Make ready for images of this size, so that the first of them need not wait."""
        ...

    def close(self) -> None:
        """Release memory and threads; may be called twice."""
        ...
