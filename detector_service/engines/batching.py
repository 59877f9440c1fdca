"""Images of many threads, run on one device a batch at a time.

There is no thread for it: whoever waits and finds the device free runs what has come meanwhile, for all.
So a lone image is never kept waiting for company, and under load batches fill by themselves.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

import structlog

from detector_service.engines.base import Batch

_log = structlog.get_logger()

Image = TypeVar("Image")
Answer = TypeVar("Answer")

#: After so many batches that fitted, one image more is tried again.
_TRY_MORE_AFTER: Final = 100


class DeviceFullError(Exception):
    """A batch did not fit into the device's memory."""


class Ticket(Generic[Image, Answer]):
    """An image's place in the queue; its attributes are the batcher's own."""

    __slots__ = ("answer", "batch", "error", "image", "kind")

    def __init__(self, image: Image, kind: Hashable) -> None:
        self.image: Final = image
        self.kind: Final = kind
        self.batch: Batch | None = None
        self.answer: Answer | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer, or an error."""
        return self.answer is not None or self.error is not None


class Batcher(Generic[Image, Answer]):
    """A device that runs batches of images of one kind; may be used from any thread.

    Attributes:
        batches: that were run, by the images in them.
    """

    def __init__(self, run: Callable[[Sequence[Image]], Sequence[Answer]], most: int) -> None:
        """Make it.

        Args:
            run: gives the answers of a batch, in its order, or raises, DeviceFullError where it is too
                large; never called twice at once.
            most: images in a batch.
        """
        self._run: Final = run
        self._limit: Final = most
        self._most = most
        self._fitted = 0
        self.batches: Final[Counter[int]] = Counter()
        self._turn: Final = threading.Condition()
        self._busy = False
        self._waiting: Final[deque[Ticket[Image, Answer]]] = deque()

    def submit(self, image: Image, kind: Hashable) -> Ticket[Image, Answer]:
        """Queue an image; return what to wait with.

        Args:
            image: is left alone until its ticket has been waited for.
            kind: images of the same kind can be in one batch.
        """
        ticket: Ticket[Image, Answer] = Ticket(image, kind)
        with self._turn:
            self._waiting.append(ticket)
        return ticket

    def wait(self, ticket: Ticket[Image, Answer]) -> Answer:
        """Return the answer to an image.

        Raises:
            Exception: what running it raised; DeviceFullError where it did not fit even alone.
        """
        while (batch := self._await_turn(ticket)) is not None:
            try:
                self._work(batch)
            finally:
                with self._turn:
                    self._busy = False
                    self._turn.notify_all()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None
        return ticket.answer

    def _await_turn(self, ticket: Ticket[Image, Answer]) -> list[Ticket[Image, Answer]] | None:
        """Wait until the ticket is done: None; or the device is free: what is to be run on it next.

        That is the image that came first, and those of its kind that came after it.
        """
        with self._turn:
            self._turn.wait_for(lambda: ticket.done or not self._busy)
            if ticket.done:
                return None
            self._busy = True
            kind = self._waiting[0].kind
            batch = [each for each in self._waiting if each.kind == kind][: self._most]
            for each in batch:
                self._waiting.remove(each)
            return batch

    def _work(self, batch: list[Ticket[Image, Answer]]) -> None:
        """Answer a batch; where it does not fit, in halves."""
        half = len(batch) // 2
        began = time.perf_counter()
        try:
            answers = self._run([ticket.image for ticket in batch])
        except DeviceFullError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            self._most, self._fitted = half, 0
            _log.warning("engine.batch_split", images=len(batch), message=str(error))
        except Exception as error:  # noqa: BLE001 - it is raised where the images came from
            for ticket in batch:
                ticket.error = error
            return
        else:
            ran = Batch(len(batch), began, time.perf_counter())
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.batch = ran
                ticket.answer = answer
            self.batches[len(batch)] += 1
            self._grow()
            return
        self._work(batch[:half])
        self._work(batch[half:])

    def _grow(self) -> None:
        """Try larger batches again after a while, for others may have left the device."""
        self._fitted += 1
        if self._fitted >= _TRY_MORE_AFTER and self._most < self._limit:
            self._most, self._fitted = self._most + 1, 0
