"""The threads that work on frames, and their only door to the event loop.

Workers pull: a thread that is free takes the frame whose turn it is at that moment, so what it takes
is the newest there is, and it never waits for the event loop.
"""

import asyncio
import threading
from collections.abc import Callable
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

    def __init__(self, count: int, make_work: Callable[[], Work[Job, Answer]]) -> None:
        """Start the threads.

        Args:
            count: of threads, at least 1.
            make_work: called once in each thread, for what that thread alone uses.
        """
        self._loop: Final = asyncio.get_running_loop()
        self._queue: Final[FairQueue[tuple[Seat[Job, Answer], Job]]] = FairQueue()
        lock = threading.Lock()
        self._free: Final = threading.Condition(lock)
        self._idle: Final = threading.Condition(lock)
        self._closing = False
        self._make_work: Final = make_work
        #: What each thread does with its next job, and with the one that it is at.
        self._next_work: Final[list[Work[Job, Answer] | None]] = [None] * count
        self._at_work: Final[list[Work[Job, Answer] | None]] = [None] * count
        self._threads: Final = [
            threading.Thread(target=self._run, args=(index,), name=f"worker-{index}", daemon=True)
            for index in range(count)
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

    async def change(self, make_work: Callable[[], Work[Job, Answer]]) -> None:
        """Give every thread other work, from its next job on; return once none does the old any more.

        Args:
            make_work: called for each thread, in a thread of its own; if it raises, nothing changes.
        """
        works = await asyncio.to_thread(lambda: [make_work() for _ in self._threads])
        await asyncio.to_thread(self._change_over, works)

    async def close(self) -> None:
        """End the threads once each has finished what it is at; may be called twice."""
        with self._free:
            self._closing = True
            self._free.notify_all()
            self._idle.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _change_over(self, works: list[Work[Job, Answer]]) -> None:
        with self._idle:
            old = list(self._next_work)
            self._next_work[:] = works
            self._idle.wait_for(
                lambda: self._closing or not any(work and work in old for work in self._at_work)
            )

    def _run(self, index: int) -> None:
        work = self._make_work()
        with self._free:
            self._next_work[index] = self._next_work[index] or work
        while (taken := self._take(index)) is not None:
            work, seat, number, job = taken
            answer = work(job, abandoned=seat.has_left)
            with self._free:
                self._at_work[index] = None
                self._idle.notify_all()
            try:
                self._loop.call_soon_threadsafe(self._hand_over, seat, number, answer)
            except RuntimeError:  # the loop has ended, and with it all who wait
                return

    def _take(self, index: int) -> tuple[Work[Job, Answer], Seat[Job, Answer], int, Job] | None:
        with self._free:
            while not self._closing:
                if (next_one := self._queue.take()) is not None:
                    _, (seat, job) = next_one
                    number = seat.taken
                    seat.taken += 1
                    work = self._next_work[index]
                    assert work is not None, "it was made before the first job"
                    self._at_work[index] = work
                    return work, seat, number, job
                self._free.wait()
        return None

    def _hand_over(self, seat: Seat[Job, Answer], number: int, answer: Answer) -> None:
        if not seat.caller.left:
            seat.deliver(number, answer)
