"""The threads that work on frames, and their only door to the event loop.

Workers pull: a thread that is free takes the frame whose turn it is at that moment, so what it takes
is the newest there is, and it never waits for the event loop.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from detector_service.scheduling.fair_queue import Caller, FairQueue

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

    __slots__ = ("caller", "deliver", "taken")

    def __init__(
        self,
        caller: "Caller[tuple[Seat[Job, Answer], Job]]",
        deliver: Callable[[int, Answer], None],
    ) -> None:
        self.caller: Final = caller
        self.deliver: Final = deliver
        self.taken = 0

    def has_left(self) -> bool:
        """Return whether nobody waits for its answers any more."""
        return self.caller.left


class Workers(Generic[Job, Answer]):
    """A fixed number of threads that take jobs from a FairQueue.

    All methods are for the event loop's thread.
    """

    def __init__(self, works: Sequence[Work[Job, Answer]]) -> None:
        """Start the threads.

        Args:
            works: what each thread does with its jobs, at least one; a thread uses its own alone.
        """
        self._loop: Final = asyncio.get_running_loop()
        self._queue: Final[FairQueue[tuple[Seat[Job, Answer], Job]]] = FairQueue()
        lock = threading.Lock()
        self._free: Final = threading.Condition(lock)
        self._idle: Final = threading.Condition(lock)
        self._closing = False
        #: What each thread does with its next job, and with the one that it is at. Nothing else holds on to
        #: either, so that old models are freed once they are changed for others.
        self._next_work: Final = list(works)
        self._at_work: Final[list[Work[Job, Answer] | None]] = [None] * len(works)
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

    def join(
        self, deliver: Callable[[int, Answer], None], *, capacity: int, max_in_flight: int
    ) -> Seat[Job, Answer]:
        """Return a seat for a caller.

        Args:
            deliver: called on the event loop with each answer: the job's number among those of this
                seat that were taken into work, from 0 without a gap; the answer.
            capacity: jobs that may wait; the oldest makes room.
            max_in_flight: jobs that may be in work or answered and not yet released.
        """
        return Seat(Caller(capacity=capacity, max_in_flight=max_in_flight), deliver)

    def put(self, seat: Seat[Job, Answer], job: Job) -> Job | None:
        """Add a job; return the one that had to make room for it, if any."""
        with self._free:
            dropped = self._queue.push(seat.caller, (seat, job))
            self._free.notify()
        return None if dropped is None else dropped[1]

    def resize(self, seat: Seat[Job, Answer], capacity: int) -> list[Job]:
        """Change how many jobs of a seat may wait; return those that no longer fit."""
        with self._free:
            return [job for _, job in self._queue.resize(seat.caller, capacity)]

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
        while self._do_next(index):
            pass

    def _do_next(self, index: int) -> bool:
        """Do the next job; return False where there will be none. So a thread that waits holds no work and no job."""
        if (taken := self._take(index)) is None:
            return False
        work, seat, number, job = taken
        answer = work(job, abandoned=seat.has_left)
        with self._free:
            self._at_work[index] = None
            self._idle.notify_all()
        try:
            self._loop.call_soon_threadsafe(self._hand_over, seat, number, answer)
        except RuntimeError:  # the loop has ended, and with it all who wait
            return False
        return True

    def _take(self, index: int) -> tuple[Work[Job, Answer], Seat[Job, Answer], int, Job] | None:
        with self._free:
            while not self._closing:
                if (next_one := self._queue.take()) is not None:
                    _, (seat, job) = next_one
                    number = seat.taken
                    seat.taken += 1
                    self._at_work[index] = work = self._next_work[index]
                    return work, seat, number, job
                self._free.wait()
        return None

    def _hand_over(self, seat: Seat[Job, Answer], number: int, answer: Answer) -> None:
        if not seat.caller.left:
            seat.deliver(number, answer)
