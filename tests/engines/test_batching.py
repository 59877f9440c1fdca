"""Batches form of what came meanwhile; what does not fit is split, and only who cannot be helped is told."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector_service.engines import batching
from detector_service.engines.batching import Batcher, DeviceFullError


class Device:
    """Doubles numbers, a batch at a time; holds no more than so many, and fails at some."""

    def __init__(self, room: int = 100, fails_at: int | None = None) -> None:
        self.room = room
        self.fails_at = fails_at
        self.batches: list[list[int]] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, images: Sequence[int]) -> list[int]:
        self.threads.add(threading.current_thread())
        self.batches.append(list(images))
        if len(images) > self.room:
            raise DeviceFullError(f"{len(images)} are too many")
        if self.fails_at in images:
            raise ValueError("no")
        return [2 * image for image in images]


class Gate:
    """Gives numbers back once it is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, images: Sequence[int]) -> list[int]:
        self.batches.append(list(images))
        self.begun.set()
        assert self.open.wait(60)
        return list(images)


def in_thread(work: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Begin something in a thread of its own."""
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 6))
def test_each_image_gets_its_own_answer(kinds: list[int], most: int) -> None:
    """Whatever is batched: images of one kind, in their order, no more than allowed."""
    device = Device()
    with closing(Batcher(device, most)) as batcher:
        tickets = [batcher.submit(image, kind) for image, kind in enumerate(kinds)]
        answers = [batcher.wait(ticket) for ticket in reversed(tickets)]
    assert answers == [2 * image for image in reversed(range(len(kinds)))]
    assert sorted(image for batch in device.batches for image in batch) == list(range(len(kinds)))
    for batch in device.batches:
        assert len(batch) <= most
        assert batch == sorted(batch)
        assert len({kinds[image] for image in batch}) == 1


def test_an_image_knows_its_batch() -> None:
    """How many were in it and when it ran; all that were have the same one."""
    with closing(Batcher(Device(), 8)) as batcher:
        tickets = [batcher.submit(image, kind) for image, kind in enumerate("aab")]
        for ticket in tickets:
            batcher.wait(ticket)
    first, second, other = (ticket.batch for ticket in tickets)
    assert first is second is not other
    assert first is not None
    assert other is not None
    assert (first.images, other.images) == (2, 1)
    assert first.began <= first.ended <= other.began <= other.ended


def test_who_came_first_is_first() -> None:
    """Others of its kind come along, those of another kind wait."""
    device = Device()
    with closing(Batcher(device, 8)) as batcher:
        tickets = [batcher.submit(image, kind) for image, kind in enumerate("abab")]
        batcher.wait(tickets[3])
    assert device.batches == [[0, 2], [1, 3]]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 10))
def test_a_batch_that_does_not_fit_is_run_in_parts(count: int, room: int) -> None:
    """Nobody notices, and the next batches are smaller from the start."""
    device = Device(room)
    with closing(Batcher(device, 40)) as batcher:
        tickets = [batcher.submit(image, "") for image in range(count)]
        assert [batcher.wait(ticket) for ticket in tickets] == [2 * n for n in range(count)]
        tickets = [batcher.submit(image, "") for image in range(count)]
        device.batches.clear()
        assert [batcher.wait(ticket) for ticket in tickets] == [2 * n for n in range(count)]
    assert all(len(batch) <= room for batch in device.batches)


def test_an_image_that_does_not_fit_alone_is_reported() -> None:
    """To who sent it; the device goes on."""
    device = Device(room=0)
    with closing(Batcher(device, 4)) as batcher:
        tickets = [batcher.submit(image, "") for image in range(3)]
        for ticket in tickets:
            with pytest.raises(DeviceFullError, match="1 are too many"):
                batcher.wait(ticket)
        device.room = 100
        assert batcher.wait(batcher.submit(7, "")) == 14


def test_batches_grow_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have left the device; no more is tried than was allowed."""
    monkeypatch.setattr(batching, "_TRY_MORE_AFTER", 2)
    device = Device(room=2)
    with closing(Batcher(device, 4)) as batcher:

        def largest() -> int:
            device.batches.clear()
            for ticket in [batcher.submit(image, "") for image in range(12)]:
                batcher.wait(ticket)
            return max(len(batch) for batch in device.batches)

        largest()
        device.room = 100
        assert [largest() for _ in range(4)][-1] == 4


def test_an_error_is_of_the_images_that_were_run() -> None:
    """The next are answered."""
    with closing(Batcher(Device(fails_at=1), 4)) as batcher:
        tickets = [batcher.submit(image, "") for image in range(2)]
        for ticket in tickets:
            with pytest.raises(ValueError, match="no"):
                batcher.wait(ticket)
        assert batcher.wait(batcher.submit(2, "")) == 4


def test_many_threads_share_a_device() -> None:
    """Each gets its own answers; the device sees one thread only, and that is none of theirs."""
    device = Device()
    answers: dict[int, list[int]] = {}
    with closing(Batcher(device, 4)) as batcher:

        def work(thread: int) -> None:
            numbers = range(thread * 1000, thread * 1000 + 200)
            answers[thread] = [batcher.wait(batcher.submit(n, n % 2)) for n in numbers]

        threads = [in_thread(work, number) for number in range(6)]
        for thread in threads:
            thread.join()
    for number, answered in answers.items():
        assert answered == [2 * n for n in range(number * 1000, number * 1000 + 200)]
    (one,) = device.threads
    assert one not in threads
    assert not one.is_alive(), "it ended with the batcher"


def test_batches_fill_while_the_device_is_busy() -> None:
    """What came meanwhile is run together."""
    gate = Gate()
    with closing(Batcher(gate, 8)) as batcher:
        first = in_thread(batcher.wait, batcher.submit(0, ""))
        assert gate.begun.wait(60)
        tickets = [batcher.submit(image, "") for image in (1, 2, 3)]
        waiting = [in_thread(batcher.wait, ticket) for ticket in tickets]
        gate.open.set()
        for thread in (first, *waiting):
            thread.join()
    assert gate.batches == [[0], [1, 2, 3]]


def test_closing_lets_nobody_wait() -> None:
    """The batch that is under way is answered; what is queued, and what comes later, fails at once."""
    gate = Gate()
    batcher = Batcher(gate, 8)
    first = batcher.submit(0, "")
    waiting = in_thread(batcher.wait, first)
    assert gate.begun.wait(60)
    queued = batcher.submit(1, "")
    closing_ = in_thread(batcher.close)
    while not (late := batcher.submit(2, "")).done.is_set():
        pass  # not closed yet
    gate.open.set()
    closing_.join()
    waiting.join()
    assert batcher.wait(first) == 0
    for ticket in (queued, late):
        with pytest.raises(RuntimeError, match="the engine has ended"):
            batcher.wait(ticket)
    assert gate.batches == [[0]]
    batcher.close()


def test_too_few_answers_are_an_error() -> None:
    """Nobody waits for one that does not come."""
    answers: list[list[int]] = [[], [1]]
    batcher: Batcher[int, int] = Batcher(lambda _: answers.pop(0), 8)
    with closing(batcher):
        with pytest.raises(ValueError, match="shorter"):
            batcher.wait(batcher.submit(0, ""))
        assert batcher.wait(batcher.submit(1, "")) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_is_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when not even the log can be written: all are told, those of the batch, the queue, and later."""

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(batching, "_log", SimpleNamespace(warning=full_disk))
    with closing(Batcher(Device(room=1), 2)) as batcher:
        tickets = [batcher.submit(image, "") for image in range(3)]
        for ticket in tickets:
            with pytest.raises(RuntimeError, match="the engine has ended"):
                batcher.wait(ticket)
        with pytest.raises(RuntimeError, match="the engine has ended"):
            batcher.wait(batcher.submit(3, ""))
