"""The threads: they pull, they answer on the event loop, they end when told to."""

import asyncio
import random
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.scheduling.workers import Seat, Work, Workers
from tests.servers import until


class Gate:
    """Work that waits, in its thread, until it is let through; it answers with the thread's name."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.abandoned: list[bool] = []

    def __call__(self, job: int, *, abandoned: Callable[[], bool]) -> tuple[int, str]:
        self.entered.release()
        assert self.open.wait(20)
        self.abandoned.append(abandoned())
        return job, threading.current_thread().name

    async def somebody_entered(self) -> None:
        """Wait until a thread is at work."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=20)


class Desk:
    """A caller: it has a seat and keeps what it is handed."""

    def __init__(
        self, workers: Workers[int, tuple[int, str]], capacity: int = 8, max_in_flight: int = 8
    ) -> None:
        self.answers: list[tuple[int, int]] = []
        self.threads: set[str] = set()
        self.handed_on: set[str] = set()
        self.dropped: list[tuple[int, int]] = []
        self.came = asyncio.Event()
        self.seat: Seat[int, tuple[int, str]] = workers.join(
            self.deliver, self.drop, capacity=capacity, max_in_flight=max_in_flight
        )

    def drop(self, job: int, reason: pb.DropReason.ValueType) -> None:
        """Learn that a job is not done."""
        self.dropped.append((job, reason))
        self.handed_on.add(threading.current_thread().name)
        self.came.set()

    def deliver(self, number: int, answer: tuple[int, str]) -> None:
        """Take an answer."""
        self.answers.append((number, answer[0]))
        self.threads.add(answer[1])
        self.handed_on.add(threading.current_thread().name)
        self.came.set()

    async def has(self, count: int) -> None:
        """Wait for so many answers."""
        async with asyncio.timeout(20):
            while len(self.answers) < count:
                self.came.clear()
                await self.came.wait()

    async def has_lost(self, count: int) -> None:
        """Wait for so many drops."""
        async with asyncio.timeout(20):
            while len(self.dropped) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def working(
    count: int, work: Work[int, tuple[int, str]]
) -> AsyncIterator[Workers[int, tuple[int, str]]]:
    """Run workers."""
    workers = Workers([work] * count)
    try:
        yield workers
    finally:
        await workers.close()


async def test_work_is_done_in_threads_and_answered_on_the_event_loop() -> None:
    """Jobs never run on the loop's thread, answers always arrive there, numbered as they were taken."""
    gate = Gate()
    gate.open.set()
    async with working(2, gate) as workers:
        desk = Desk(workers)
        for job in range(6):
            workers.put(desk.seat, job)
        await desk.has(6)
    assert sorted(desk.answers) == [(n, n) for n in range(6)]
    assert desk.handed_on == {threading.current_thread().name}
    assert desk.threads <= {"worker-0", "worker-1"}


async def test_a_free_worker_takes_what_is_newest_at_that_moment() -> None:
    """While the only worker is busy, newer jobs replace older ones; the freed worker takes what is left."""
    gate = Gate()
    async with working(1, gate) as workers:
        desk = Desk(workers, capacity=1)
        workers.put(desk.seat, 0)
        await gate.somebody_entered()
        for job in (1, 2, 3):
            workers.put(desk.seat, job)
        assert desk.dropped == [(1, pb.DROP_REASON_SUPERSEDED), (2, pb.DROP_REASON_SUPERSEDED)]
        gate.open.set()
        await desk.has(2)
    assert desk.answers == [(0, 0), (1, 3)]


async def test_jobs_that_come_together_lose_none_while_threads_are_free() -> None:
    """A buffer of one holds back a burst no more than the threads do."""
    gate = Gate()
    async with working(3, gate) as workers:
        desk = Desk(workers, capacity=1)
        for job in range(3):
            workers.put(desk.seat, job)
            await gate.somebody_entered()
        assert desk.dropped == []
        workers.put(desk.seat, 3)
        workers.put(desk.seat, 4)
        assert desk.dropped == [(3, pb.DROP_REASON_SUPERSEDED)]
        gate.open.set()
        await desk.has(4)


async def test_a_job_that_would_be_late_is_not_begun() -> None:
    """Its seat learns of it on the event loop, and the thread takes the next one."""
    gate, now = Gate(), [100.0]
    workers = Workers([gate], clock=lambda: now[0])
    hurried, patient = Desk(workers), Desk(workers)
    workers.put(patient.seat, 0)
    await gate.somebody_entered()
    workers.put(hurried.seat, 1, expires=105.0)  # a job takes 3 s, as will turn out
    workers.put(hurried.seat, 2, expires=107.0)
    now[0] = 103.0
    gate.open.set()
    await hurried.has(1)
    assert hurried.dropped == [(1, pb.DROP_REASON_LATE)]
    assert hurried.answers == [(0, 2)]
    assert hurried.handed_on == {threading.current_thread().name}
    await patient.has(1)
    await workers.close()


async def test_late_jobs_are_told_where_no_other_waits() -> None:
    """A thread that finds nothing but late jobs says so, and waits for more."""
    gate = Gate()
    gate.open.set()
    workers = Workers([gate], clock=lambda: 100.0)
    desk = Desk(workers)
    workers.put(desk.seat, 0, expires=99.0)
    await desk.has_lost(1)
    workers.put(desk.seat, 1)
    await desk.has(1)
    assert desk.dropped == [(0, pb.DROP_REASON_LATE)]
    await workers.close()


async def test_the_caller_with_most_bytes_learns_what_it_lost_to_another() -> None:
    """Bytes are bounded over all callers."""
    gate = Gate()
    workers = Workers([gate], max_bytes=100)
    large, small = Desk(workers), Desk(workers)
    workers.put(small.seat, 0)
    await gate.somebody_entered()
    for job in (1, 2):
        workers.put(large.seat, job, size=45)
    workers.put(small.seat, 3, size=20)
    assert large.dropped == [(1, pb.DROP_REASON_MEMORY_LIMITED)]
    gate.open.set()
    await small.has(2)
    await large.has(1)
    await workers.close()


async def test_what_work_takes_is_measured() -> None:
    """And foreseen for the next."""
    gate, now = Gate(), [0.0]
    workers = Workers([gate], clock=lambda: now[0])
    desk = Desk(workers)
    workers.put(desk.seat, 0)
    await gate.somebody_entered()
    now[0] = 2.0
    gate.open.set()
    await desk.has(1)
    flow = desk.seat.caller.flow
    assert workers.expected_wait(flow, 3) == 6.0
    workers.refuse(flow)
    assert workers.expected_wait(flow, 3) == 6.0 * 7 / 8
    await workers.close()


async def test_a_seat_that_is_given_up_is_handed_nothing_more() -> None:
    """What waited is not done; what is in work learns that nobody waits, and is not delivered."""
    gate = Gate()
    async with working(1, gate) as workers:
        gone, stays = Desk(workers), Desk(workers)
        workers.put(gone.seat, 0)
        await gate.somebody_entered()
        workers.put(gone.seat, 1)
        workers.put(stays.seat, 2)
        workers.leave(gone.seat)
        assert workers.waiting == 1
        gate.open.set()
        await stays.has(1)
    assert gone.answers == []
    assert gate.abandoned == [True, False]


async def test_unreleased_answers_hold_up_their_own_caller_only() -> None:
    """With its limit in work, a caller gets no more until an answer has been sent."""
    gate = Gate()
    gate.open.set()
    async with working(1, gate) as workers:
        slow, quick = Desk(workers, max_in_flight=1), Desk(workers)
        workers.put(slow.seat, 0)
        workers.put(slow.seat, 1)
        for job in range(3):
            workers.put(quick.seat, job)
        await quick.has(3)
        await slow.has(1)
        assert workers.waiting == 1
        workers.release(slow.seat)
        await slow.has(2)


async def test_closing_twice_is_closing() -> None:
    """Threads end, and a second call finds nothing to do."""
    before = set(threading.enumerate())
    workers = Workers([Gate() for _ in range(3)])
    own = set(threading.enumerate()) - before
    assert {thread.name for thread in own} == {"worker-0", "worker-1", "worker-2"}
    await workers.close()
    await workers.close()
    assert not own & set(threading.enumerate())


class Named:
    """Work that answers with its own number, behind a gate."""

    def __init__(self, number: int, gate: Gate) -> None:
        self.number = number
        self.gate = gate

    def __call__(self, job: int, *, abandoned: Callable[[], bool]) -> tuple[int, str]:
        self.gate(job, abandoned=abandoned)
        return self.number, threading.current_thread().name


async def test_work_changes_between_two_jobs() -> None:
    """What is at work ends as it began; the change is over once nobody does the old any more."""
    gate = Gate()
    workers = Workers([Named(1, gate) for _ in range(2)])
    desk = Desk(workers)
    workers.put(desk.seat, 0)
    await gate.somebody_entered()
    others = [Named(2, gate), Named(2, gate)]
    changing = asyncio.create_task(workers.change(others))
    workers.put(desk.seat, 1)
    await gate.somebody_entered()
    assert not changing.done()
    gate.open.set()
    await changing
    workers.put(desk.seat, 2)
    await desk.has(3)
    assert sorted(desk.answers) in ([(0, 1), (1, 1), (2, 2)], [(0, 1), (1, 2), (2, 2)])
    await workers.close()


async def test_work_that_was_changed_is_let_go_of() -> None:
    """Old models are freed, also by threads that have had nothing to do since."""
    gate = Gate()
    works = [Named(1, gate) for _ in range(2)]
    before = [weakref.ref(work) for work in works]
    workers = Workers(works)
    del works
    desk = Desk(workers)
    for job in range(2):
        workers.put(desk.seat, job)
    for _ in range(2):
        await gate.somebody_entered()
    gate.open.set()
    await workers.change([Named(2, gate) for _ in range(2)])
    await until(lambda: [work() for work in before] == [None, None])
    await workers.close()


async def test_a_change_that_is_cancelled_is_a_change() -> None:
    """What is cancelled is the waiting for those that are at the old work."""
    gate = Gate()
    workers = Workers([Named(1, gate)])
    desk = Desk(workers)
    workers.put(desk.seat, 0)
    await gate.somebody_entered()
    changing = asyncio.create_task(workers.change([Named(2, gate)]))
    await asyncio.sleep(0)
    changing.cancel()
    gate.open.set()
    workers.put(desk.seat, 1)
    await desk.has(2)
    assert desk.answers == [(0, 1), (1, 2)]
    await workers.close()


async def test_workers_that_close_keep_no_change_waiting() -> None:
    """A service goes down whatever it was about."""
    gate = Gate()
    workers = Workers([Named(1, gate)])
    desk = Desk(workers)
    workers.put(desk.seat, 0)
    await gate.somebody_entered()
    changing = asyncio.create_task(workers.change([Named(2, gate)]))
    closing = asyncio.create_task(workers.close())
    await changing
    gate.open.set()
    await closing


class Reader(Desk):
    """A caller that takes each answer at once."""

    put = 0

    def deliver(self, number: int, answer: tuple[int, str]) -> None:
        """Take an answer, and be ready for the next."""
        super().deliver(number, answer)
        self.workers.release(self.seat)

    def __init__(self, workers: Workers[int, tuple[int, str]]) -> None:
        super().__init__(workers, capacity=2, max_in_flight=3)
        self.workers = workers

    @property
    def told(self) -> int:
        """Of how many jobs it learned what became of them."""
        return len(self.answers) + len(self.dropped)


@pytest.mark.parametrize("seed", range(5))
async def test_each_job_is_answered_or_dropped_once(seed: int) -> None:
    """While threads take them: whatever comes too late or is too much, whoever leaves, whatever else changes."""
    gate, chance = Gate(), random.Random(seed)
    gate.open.set()
    workers = Workers([gate] * 4, max_bytes=100)
    readers, gone = [Reader(workers) for _ in range(4)], list[tuple[Reader, int]]()
    for job in range(2000):
        place = chance.randrange(len(readers))
        reader = readers[place]
        patience = chance.choice([0.0, 0.0005, 60.0])
        workers.put(
            reader.seat, job, size=chance.randrange(60), expires=time.perf_counter() + patience
        )
        reader.put += 1
        match chance.randrange(40):
            case 0:
                workers.leave(reader.seat)
                gone.append((reader, reader.told))
                readers[place] = Reader(workers)
            case 1:
                workers.resize(reader.seat, chance.randint(1, 3))
            case 2:
                workers.reweigh(reader.seat, chance.randint(1, 100))
            case 3:
                await workers.change([gate] * 4)
            case number if number < 20:
                await asyncio.sleep(0)
    await until(lambda: all(reader.told == reader.put for reader in readers))
    assert workers.waiting == 0
    await workers.close()
    for reader in readers:
        assert sorted(number for number, _ in reader.answers) == list(range(len(reader.answers)))
        jobs = [job for _, job in reader.answers] + [job for job, _ in reader.dropped]
        assert len(set(jobs)) == len(jobs)
    assert gone
    assert all(reader.told == told for reader, told in gone)
