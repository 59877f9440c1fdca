"""Images of many threads, run on one device a batch at a time, by a thread of its own.

A batch begins as soon as somebody waits for an image and the device is free, with all that has come by then. So a lone image
is never kept waiting for company, and under load batches fill by themselves.

It is always the same thread because CUDA's libraries keep their handles and plans for each thread: the first batch that a
thread runs takes more than a second on a GPU where the next ones take milliseconds.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Final, Generic, TypeVar

import structlog

from detector_service.engines.base import Batch

_log = structlog.get_logger()

Image = TypeVar("Image")
Answer = TypeVar("Answer")

#: How the names of threads that run batches begin.
THREADS: Final = "engine-"
_numbers: Final = count(1)
#: After so many batches that fitted, one image more is tried again.
_TRY_MORE_AFTER: Final = 100


class DeviceFullError(Exception):
    """A batch did not fit into the device's memory."""


class Ticket(Generic[Image, Answer]):
    """An image's place in the queue; its attributes are the batcher's own."""

    __slots__ = ("answer", "batch", "done", "error", "image", "kind", "wanted")

    def __init__(self, image: Image, kind: Hashable) -> None:
        self.image: Final = image
        self.kind: Final = kind
        self.wanted = False
        self.batch: Batch | None = None
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.done: Final = threading.Event()

    def fail(self, error: Exception) -> None:
        """Let who waits know of an error."""
        self.error = error
        self.done.set()


class Batcher(Generic[Image, Answer]):
    """A device that runs batches of images of one kind; may be used from any thread.

    Attributes:
        batches: that were run, by the images in them.
    """

    def __init__(self, run: Callable[[Sequence[Image]], Sequence[Answer]], most: int) -> None:
        """Make it; it has a thread until it is closed.

        Args:
            run: gives the answers of a batch, in its order, or raises, DeviceFullError where it is too
                large; always called in the same thread.
            most: images in a batch.
        """
        self._run: Final = run
        self._limit: Final = most
        self._most = most
        self._fitted = 0
        self.batches: Final[Counter[int]] = Counter()
        self._news: Final = threading.Condition()
        self._closed = False
        self._queue: deque[Ticket[Image, Answer]] = deque()
        name = f"{THREADS}{next(_numbers)}"
        self._thread: Final = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, image: Image, kind: Hashable) -> Ticket[Image, Answer]:
        """Queue an image; return what to wait with.

        Args:
            image: is left alone until its ticket has been waited for.
            kind: images of the same kind can be in one batch.
        """
        ticket: Ticket[Image, Answer] = Ticket(image, kind)
        with self._news:
            if self._closed:
                ticket.fail(_ended())
            else:
                self._queue.append(ticket)
        return ticket

    def wait(self, ticket: Ticket[Image, Answer]) -> Answer:
        """Return the answer to an image.

        Raises:
            Exception: what running it raised; DeviceFullError where it did not fit even alone; RuntimeError
                where the batcher ended before its turn.
        """
        with self._news:
            ticket.wanted = True
            self._news.notify()
        ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None
        return ticket.answer

    def close(self) -> None:
        """End the thread after the batch that it is at; may be called twice, but not by `run`. What is queued fails."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def _serve(self) -> None:
        batch: list[Ticket[Image, Answer]] = []
        try:
            while batch := self._next_batch():
                self._work(batch)
                batch.clear()  # nothing of it is kept while there is nothing to do
        finally:  # nobody waits for a thread that is no more, whatever ended it
            with self._news:
                self._closed = True
            for ticket in (*batch, *self._queue):
                if not ticket.done.is_set():
                    ticket.fail(_ended())
            self._queue.clear()

    def _next_batch(self) -> list[Ticket[Image, Answer]]:
        """Wait until there is something to run, and return it; nothing once the batcher is closed.

        That is the image that came first, and those of its kind that came after it.
        """
        with self._news:
            self._news.wait_for(lambda: self._closed or any(each.wanted for each in self._queue))
            if self._closed:
                return []
            kind = self._queue[0].kind
            batch: list[Ticket[Image, Answer]] = []
            others: deque[Ticket[Image, Answer]] = deque()
            for ticket in self._queue:
                fits = ticket.kind == kind and len(batch) < self._most
                (batch if fits else others).append(ticket)
            self._queue = others
            return batch

    def _work(self, batch: list[Ticket[Image, Answer]]) -> None:
        """Answer a batch; where it does not fit, in halves."""
        half = len(batch) // 2
        began = time.perf_counter()
        try:
            answers = self._run([ticket.image for ticket in batch])
            answered = list(zip(batch, answers, strict=True))
        except DeviceFullError as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            self._most, self._fitted = half, 0
            _log.warning("engine.batch_split", images=len(batch), message=str(error))
        except Exception as error:  # noqa: BLE001 - it is raised where the images came from
            for ticket in batch:
                ticket.fail(error)
            return
        else:
            ran = Batch(len(batch), began, time.perf_counter())
            self.batches[len(batch)] += 1
            for ticket, answer in answered:
                ticket.batch = ran
                ticket.answer = answer
                ticket.done.set()
            self._grow()
            return
        self._work(batch[:half])
        self._work(batch[half:])

    def _grow(self) -> None:
        """Try larger batches again after a while, for others may have left the device."""
        self._fitted += 1
        if self._fitted >= _TRY_MORE_AFTER and self._most < self._limit:
            self._most, self._fitted = self._most + 1, 0


def _ended() -> RuntimeError:
    return RuntimeError("the engine has ended")
