"""What engines that compute with PyTorch's tensors share: the way to the device, heads and NMS there, and back.

An image's pixels go to the device as they are, a byte a channel, from page-locked memory, while others
are computed; everything after that is done there, for a batch at a time, and what comes back is the
finished detections: a few hundred bytes an image. On a processor the same code runs without copies.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from detector_service.engines.base import Batch, InputShape, Predictions, Prepared
from detector_service.engines.batching import Batcher, DeviceFullError, Ticket
from detector_service.engines.cuda_graphs import GraphRecording, give_back_memory
from detector_service.engines.recordings import Recordings

#: Ultralytics' default for `predict` (cfg/default.yaml: iou).
_IOU_THRESHOLD: Final = 0.7

#: Rows of x1, y1, x2, y2 in pixels of the input, score, class.
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Upload:
    """An image on the device, or on its way there.

    Attributes:
        pixels: shape (1, height, width, 3), uint8, blue-green-red.
        arrived: a CUDA event after which they are there; None where they are.
        threshold: what scores no more is of no interest.
    """

    pixels: Any
    arrived: Any
    threshold: float


class DeviceEngine:
    """A model that takes and gives tensors, asked by many threads and run by one, a batch at a time.

    Its answers are finished detections, shape (1, n, 6), as those of a head that needs no NMS; its
    metadata say so.
    """

    name: str
    input_shape = InputShape(None, None)

    def __init__(
        self,
        forward: Callable[[Any], Any],
        metadata: Mapping[str, str],
        *,
        device: str,
        precision: str,
        pictures: Any,
        batch: int,
        keep: Callable[[], object] | None = None,
    ) -> None:
        """Make it.

        Args:
            forward: gives raw predictions, (batch, 4 + classes, anchors), or (batch, n, 6) where NMS is
                built in, for pictures of the shape (batch, 3, height, width), red-green-blue in [0, 1].
            metadata: as the exporter writes them.
            device: "cpu" or "cuda:0".
            precision: of the arithmetic: "fp32", "fp16", "bf16" or "int8".
            pictures: the type of numbers that the pictures are made of, PyTorch's.
            batch: images in a batch, at most.
            keep: gives what `forward` has made and reads again, which lets it be recorded as CUDA graphs; None
                where it cannot or shall not be.
        """
        self.device: Final = device
        self.precision: Final = precision
        self.metadata: Final = {**metadata, "end2end": "True"}
        self._forward: Callable[[Any], Any] | None = forward
        self._end_to_end: Final = metadata.get("end2end") == "True"
        self._type: Final = pictures
        self._batch: Final = batch
        # PyTorch hands out the streams of one priority again and again; those of images have another, so that none
        # of them is this one, on which is recorded.
        self._stream: Final[Any] = _stream(device, priority=-1)
        self.recordings: Recordings[Any] | None = None
        if keep is not None and self.on_gpu:
            self.recordings = Recordings(
                partial(GraphRecording, self.predict, keep, device=device), batch
            )
        self.batcher: Final[Batcher[Upload, Rows]] = Batcher(self._run, batch)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    @property
    def batches(self) -> Counter[int]:
        """Batches that were run, by the images in them."""
        return self.batcher.batches

    def request(self) -> "DeviceRequest":
        """Return a request of its own for a worker thread."""
        return DeviceRequest(self)

    def prepare(self, height: int, width: int) -> None:
        """Run a full batch of this size, so that its memory is there and its kernels are loaded."""
        requests = [self.request() for _ in range(self._batch if self.on_gpu else 1)]
        for request in requests:
            images = request.buffer(height, width)
            images[:] = 0
            request.start(images, 1.0)
        for request in requests:
            request.wait()

    def close(self) -> None:
        """Let go of the model, after the batch that is under way; may be called twice."""
        self.batcher.close()
        self._forward = None
        self.recordings = None
        if self.on_gpu:
            give_back_memory()

    def full(self, images: int) -> DeviceFullError:
        """Return what is raised where so many images do not fit."""
        return DeviceFullError(
            f"{images} images at once do not fit into the memory of {self.device}; lower ENGINE_BATCH or "
            "MAX_FRAME_SIZE, or raise GPU_MEMORY_FRACTION"
        )

    def _run(self, uploads: Sequence[Upload]) -> list[Rows]:
        try:
            with torch.inference_mode(), self._in_order(uploads):
                answers = self._compute(uploads)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            # Its traceback would hold on to what did not fit, while less is tried.
            traceback.clear_frames(error.__traceback__)
            if self.recordings is not None:
                self.recordings.clear()
            if self.on_gpu:
                give_back_memory()
            raise self.full(len(uploads)) from error
        return [answers[answers[:, 0] == place, 1:] for place in range(len(uploads))]

    def _compute(self, uploads: Sequence[Upload]) -> Rows:
        """Return the detections of all images: which image, then its row."""
        images = [upload.pixels for upload in uploads]
        _, height, width, _ = images[0].shape
        replay = self.recordings and self.recordings.find(len(images), height, width)
        predictions = replay(images) if replay else self.predict(torch.cat(images))
        read = read_end_to_end if self._end_to_end else read_anchors
        threshold = min(upload.threshold for upload in uploads)
        owners, rows = read(predictions, threshold)
        answers: Rows = torch.cat([owners[:, None].to(rows), rows], dim=1).cpu().numpy()
        return answers

    def predict(self, pixels: Any) -> Any:
        """Return predictions at 32 bits for pixels, shape (images, height, width, 3), blue-green-red bytes."""
        assert self._forward is not None, "the engine is closed"
        # Rows of pixels are PyTorch's channels-last; the flip makes them red-green-blue.
        pictures = pixels.permute(0, 3, 1, 2).flip(1).to(self._type) / 255
        return self._forward(pictures.contiguous(memory_format=torch.channels_last)).float()

    def _in_order(self, uploads: Sequence[Upload]) -> Any:
        """Return a context in which work follows the arrival of these images."""
        if self._stream is None:
            return nullcontext()
        for upload in uploads:
            self._stream.wait_event(upload.arrived)
        return torch.cuda.stream(self._stream)


class DeviceRequest:
    """One thread's buffers, in page-locked memory and on the device, and its image under way."""

    def __init__(self, engine: DeviceEngine) -> None:
        self._engine: Final = engine
        self._host: Any = torch.empty(0, dtype=torch.uint8)
        self._there: Any = None
        self._copies: Final[Any] = _stream(engine.device, priority=0)
        self._current: tuple[Any, Prepared] | None = None
        self._ticket: Ticket[Upload, Rows] | None = None
        self.batch: Batch | None = None

    def buffer(self, height: int, width: int) -> Prepared:
        """Return the input buffer of this size, shape (1, height, width, 3)."""
        if self._ticket is not None:
            with suppress(Exception):  # of an earlier image, which nobody waits for any more
                self.wait()
        length = height * width * 3
        if self._host.numel() < length:
            self._grow(length)
        images: Prepared = self._host[:length].view(1, height, width, 3).numpy()
        self._current = (self._there[:length].view(1, height, width, 3), images)
        return images

    def _grow(self, length: int) -> None:
        host = torch.empty(length, dtype=torch.uint8, pin_memory=self._engine.on_gpu)
        try:
            there = host.to(self._engine.device)  # the same memory, where that is the processor's
        except torch.OutOfMemoryError as error:
            raise self._engine.full(1) from error
        self._host, self._there = host, there

    def start(self, images: Prepared, threshold: float) -> None:
        """Send what was prepared in `buffer` on its way."""
        assert self._current is not None, "`buffer` comes first"
        pixels, current = self._current
        assert images is current, "only what `buffer` gave last can be inferred"
        arrived = None
        if self._copies is not None:
            with torch.cuda.stream(self._copies):
                host = self._host[: images.size].view(pixels.shape)
                pixels.copy_(host, non_blocking=True)
                arrived = self._copies.record_event()
        self._ticket = self._engine.batcher.submit(
            Upload(pixels, arrived, threshold), tuple(pixels.shape)
        )

    def wait(self) -> Predictions:
        """Return the detections once they are there, shape (1, n, 6)."""
        assert self._ticket is not None, "`start` comes first"
        ticket, self._ticket = self._ticket, None
        rows = self._engine.batcher.wait(ticket)
        self.batch = ticket.batch
        return rows[None]


def _out_of_memory(error: RuntimeError) -> bool:
    """Return whether the device's memory did not suffice; CUDA's libraries have no error of their own for that."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in said for words in ("out of memory", "ALLOC_FAILED")
    )


def _stream(device: str, priority: int) -> Any:
    """Return a CUDA stream of a priority, the less the sooner; None for a processor."""
    if device == "cpu":
        return None
    return torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]


def read_anchors(predictions: Any, threshold: float) -> tuple[Any, Any]:
    """Read the head that needs NMS, and do that; an anchor stands for its best class only.

    Args:
        predictions: shape (batch, 4 + classes, anchors): centre x, centre y, width, height, then scores.
        threshold: detections score more than this.

    Returns:
        Shape (n,): which image of the batch a detection is of. Shape (n, 6): x1, y1, x2, y2, score,
        class; by falling score. As `detection.heads` and `detection.nms` would have it.
    """
    scores, classes = predictions[:, 4:].max(dim=1)
    owners, anchors = torch.nonzero(scores > threshold, as_tuple=True)
    scores, classes = scores[owners, anchors], classes[owners, anchors]
    centre, sides = predictions[owners, :4, anchors].split(2, dim=1)
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], dim=1)
    # One NMS for all: images and classes lie so far apart that they do not overlap. At 64 bits that
    # costs no accuracy of the boxes.
    apart = boxes.double()
    if len(apart):
        group = owners * (predictions.shape[1] - 4) + classes
        apart = apart + (group * (apart.max() - apart.min() + 1))[:, None]
    kept = nms(apart, scores.double(), _IOU_THRESHOLD)
    rows = torch.cat([boxes, scores[:, None], classes[:, None].to(boxes)], dim=1)
    return owners[kept], rows[kept]


def read_end_to_end(predictions: Any, threshold: float) -> tuple[Any, Any]:
    """Read the head that has done NMS itself.

    Args:
        predictions: shape (batch, detections, 6): x1, y1, x2, y2, score, class.
        threshold: detections score more than this.

    Returns:
        As `read_anchors` does.
    """
    owners, places = torch.nonzero(predictions[..., 4] > threshold, as_tuple=True)
    return owners, predictions[owners, places]
