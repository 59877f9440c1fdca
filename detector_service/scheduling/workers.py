"""The threads that work on frames, and their only door to the event loop.

Workers pull: a thread that is free takes the frame whose turn it is at that moment, so what it takes
is the newest there is, and it never waits for the event loop.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.scheduling.fair_queue import Caller, Dropped, FairQueue, Flow, Taken

Job = TypeVar("Job")
Job_contra = TypeVar("Job_contra", contravariant=True)
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Work(Protocol[Job_contra, Answer_co]):
    """What one thread does with a job; it gives an answer whatever happens, and never raises."""

    def __call__(self, job: Job_contra, *, abandoned: Callable[[], bool]) -> Answer_co:
        """Do the work; it may stop early, with any answer, once `abandoned` says that nobody waits."""
        ...


class Seat(Generic[Job, Answer]):
    """A caller's place at the workers: it puts jobs in and is handed answers on the event loop.

    Made by `Workers.join`; its attributes are the workers' own.
    """

    __slots__ = ("caller", "deliver", "drop", "taken")

    def __init__(
        self,
        caller: "Caller[tuple[Seat[Job, Answer], Job]]",
        deliver: Callable[[int, Answer], None],
        drop: Callable[[Job, pb.DropReason.ValueType], None],
    ) -> None:
        self.caller: Final = caller
        self.deliver: Final = deliver
        self.drop: Final = drop
        self.taken = 0

    def has_left(self) -> bool:
        """Return whether nobody waits for its answers any more."""
        return self.caller.left


class Workers(Generic[Job, Answer]):
    """A fixed number of threads that take jobs from a FairQueue.

    All methods are for the event loop's thread.
    """

    def __init__(
        self,
        works: Sequence[Work[Job, Answer]],
        *,
        max_bytes: int | None = None,
        saw: Callable[[Answer], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start the threads.

        Args:
            works: what each thread does with its jobs, at least one; a thread uses its own alone.
            max_bytes: of all jobs that wait together; None: no bound.
            saw: called on the event loop with every answer, whether its caller is still there or not.
            clock: gives seconds; jobs expire by it, and work is measured by it.
        """
        self._loop: Final = asyncio.get_running_loop()
        self._clock: Final = clock
        self._saw: Final = saw
        self._queue: Final[FairQueue[tuple[Seat[Job, Answer], Job]]] = FairQueue(
            max_bytes=max_bytes
        )
        self._free_threads = 0
        lock = threading.Lock()
        self._free: Final = threading.Condition(lock)
        self._idle: Final = threading.Condition(lock)
        self._closing = False
        #: What each thread does with its next job, and with the one that it is at. Nothing else holds on to
        #: either, so that old models are freed once they are changed for others.
        self._next_work: Final = list(works)
        self._at_work: Final[list[Work[Job, Answer] | None]] = [None] * len(works)
        self._since: Final[list[float | None]] = [None] * len(works)  # by the clock
        self._threads: Final = [
            threading.Thread(target=self._run, args=(index,), name=f"worker-{index}", daemon=True)
            for index in range(len(works))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def count(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes they hold."""
        return self._queue.waiting_bytes

    def in_work(self) -> dict[threading.Thread, float]:
        """Return the threads that are at a job, and since when, by the clock."""
        begun = zip(self._threads, self._since, strict=True)
        return {thread: since for thread, since in begun if since is not None}

    def join(
        self,
        deliver: Callable[[int, Answer], None],
        drop: Callable[[Job, pb.DropReason.ValueType], None],
        *,
        capacity: int,
        max_in_flight: int,
        flow: Flow[Any] | None = None,
        yields: bool = True,
    ) -> Seat[Job, Answer]:
        """Return a seat for a caller.

        Args:
            deliver: called on the event loop with each answer: the job's number among those of this
                seat that were taken into work, from 0 without a gap; the answer.
            drop: called on the event loop with each job that no thread will do, and why.
            capacity: jobs that may wait; the oldest makes room.
            max_in_flight: jobs that may be in work or answered and not yet released.
            flow: whose part of the working time it gets, together with others; by default one of its own.
            yields: whether jobs of it may be dropped where all that wait hold too many bytes.
        """
        caller: Caller[tuple[Seat[Job, Answer], Job]] = Caller(
            capacity=capacity,
            max_in_flight=max_in_flight,
            flow=flow or Flow(1.0),
            yields=yields,
        )
        return Seat(caller, deliver, drop)

    def put(
        self, seat: Seat[Job, Answer], job: Job, *, size: int = 0, expires: float = float("inf")
    ) -> None:
        """Add a job; those that had to make room for it are given to their seats' `drop`.

        Args:
            seat: whose job it is.
            job: the job.
            size: bytes that it holds.
            expires: when its answer is of no use any more, by the clock; the job is dropped where it would
                come later.
        """
        with self._free:
            dropped = self._queue.push(
                seat.caller, (seat, job), size=size, expires=expires, free=self._free_threads
            )
            self._free.notify()
        self._tell(dropped)

    def resize(self, seat: Seat[Job, Answer], capacity: int) -> None:
        """Change how many jobs of a seat may wait; those that no longer fit are given to its `drop`."""
        with self._free:
            dropped = self._queue.resize(seat.caller, capacity)
        self._tell(dropped)

    def reweigh(self, seat: Seat[Job, Answer], weight: float) -> None:
        """Change a seat's part of the working time: it is in proportion to the weights of all that have jobs."""
        with self._free:
            self._queue.reweigh(seat.caller.flow, weight)

    def expected_wait(self, flow: Flow[Any], more: int) -> float:
        """Return the seconds until a flow's waiting jobs, and so many more, are likely to be done."""
        with self._free:
            return self._queue.expected_wait(flow, more, self.count)

    def refuse(self, flow: Flow[Any]) -> None:
        """Expect a little less of a flow, after something of it was refused for what was expected."""
        with self._free:
            self._queue.refuse(flow)

    def release(self, seat: Seat[Job, Answer]) -> None:
        """Say that an answer has reached its caller, so that one more job may be taken."""
        with self._free:
            self._queue.release(seat.caller)
            self._free.notify()

    def leave(self, seat: Seat[Job, Answer]) -> None:
        """Leave a seat; what waits is forgotten, what is in work is not delivered."""
        with self._free:
            self._queue.leave(seat.caller)

    async def change(self, works: Sequence[Work[Job, Answer]]) -> None:
        """Give every thread other work, from its next job on; return once none does the old any more.

        Args:
            works: one for each thread. Whoever cancels this call has them change over all the same.
        """
        with self._free:
            old, self._next_work[:] = list(self._next_work), works
        await asyncio.to_thread(self._await_end_of, old)

    async def close(self) -> None:
        """End the threads once each has finished what it is at; may be called twice."""
        with self._free:
            self._closing = True
            self._free.notify_all()
            self._idle.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _await_end_of(self, old: list[Work[Job, Answer]]) -> None:
        with self._idle:
            self._idle.wait_for(
                lambda: self._closing or not any(work and work in old for work in self._at_work)
            )

    def _run(self, index: int) -> None:
        try:
            while self._do_next(index):
                pass
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # The loop has ended, and with it all who wait.

    def _do_next(self, index: int) -> bool:
        """Do the next job; return False where there will be none. So a thread that waits holds no work and no job."""
        if (begun := self._take(index)) is None:
            return False
        work, number, taken = begun
        seat, job = taken.item
        self._since[index] = started = self._clock()
        answer = work(job, abandoned=seat.has_left)
        with self._free:
            self._queue.finish(taken, self._clock() - started)
            self._at_work[index] = self._since[index] = None
            self._idle.notify_all()
        self._loop.call_soon_threadsafe(self._hand_over, seat, number, answer)
        return True

    def _take(
        self, index: int
    ) -> tuple[Work[Job, Answer], int, Taken[tuple[Seat[Job, Answer], Job]]] | None:
        """Wait for a job; return what to do with it, its number and itself, or None where it is over."""
        begun = None
        while begun is None:
            with self._free:
                if self._closing:
                    return None
                taken, late = self._queue.take(self._clock())
                if taken is None and not late:
                    self._free_threads += 1
                    self._free.wait()
                    self._free_threads -= 1
                    continue
                if taken is not None:
                    seat, _ = taken.item
                    number = seat.taken
                    seat.taken += 1
                    self._at_work[index] = work = self._next_work[index]
                    begun = work, number, taken
            if late:
                self._loop.call_soon_threadsafe(self._tell, late)
        return begun

    def _tell(self, dropped: Sequence[Dropped[tuple[Seat[Job, Answer], Job]]]) -> None:
        for _, (seat, job), reason in dropped:
            if not seat.caller.left:
                seat.drop(job, reason)

    def _hand_over(self, seat: Seat[Job, Answer], number: int, answer: Answer) -> None:
        self._saw(answer)
        if not seat.caller.left:
            seat.deliver(number, answer)
