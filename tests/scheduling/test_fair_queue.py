"""Whose frame is next: newest first to stay, in turn between callers, nothing without bound."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from detector_service.scheduling.fair_queue import Caller, FairQueue


def test_frames_of_one_caller_leave_in_their_order() -> None:
    """First come, first taken."""
    queue = FairQueue[int]()
    caller = Caller[int](capacity=3, max_in_flight=9)
    for number in range(3):
        assert queue.push(caller, number) is None
    assert [taken[1] for taken in iter(queue.take, None)] == [0, 1, 2]


def test_the_oldest_makes_room_for_the_newest() -> None:
    """Who watches live wants what is, not what was."""
    queue = FairQueue[int]()
    caller = Caller[int](capacity=2, max_in_flight=9)
    assert [queue.push(caller, number) for number in range(5)] == [None, None, 0, 1, 2]
    assert len(queue) == 2
    assert [taken[1] for taken in iter(queue.take, None)] == [3, 4]


def test_a_flood_takes_nothing_from_the_others() -> None:
    """A caller with many frames gets one turn, as does each with one."""
    queue = FairQueue[str]()
    flood, first, second = (Caller[str](capacity=50, max_in_flight=50) for _ in range(3))
    for number in range(50):
        queue.push(flood, f"flood {number}")
    queue.push(first, "first")
    queue.push(second, "second")
    order = [taken[1] for taken in (queue.take() for _ in range(4)) if taken]
    assert order == ["flood 0", "first", "second", "flood 1"]


def test_a_caller_with_enough_in_work_waits_and_others_do_not() -> None:
    """A client that does not read its answers holds up nobody but itself."""
    queue = FairQueue[str]()
    slow, quick = Caller[str](capacity=9, max_in_flight=1), Caller[str](capacity=9, max_in_flight=1)
    for caller, name in ((slow, "slow"), (slow, "slow again"), (quick, "quick")):
        queue.push(caller, name)
    assert [queue.take(), queue.take(), queue.take()] == [(slow, "slow"), (quick, "quick"), None]
    queue.release(slow)
    assert queue.take() == (slow, "slow again")


def test_what_a_caller_leaves_behind_is_forgotten() -> None:
    """Work for a caller that is gone is not done, and what it still sends is not kept."""
    queue = FairQueue[int]()
    caller = Caller[int](capacity=3, max_in_flight=3)
    queue.push(caller, 1)
    queue.push(caller, 2)
    queue.leave(caller)
    assert len(queue) == 0
    assert queue.push(caller, 3) == 3
    assert queue.take() is None
    assert len(queue) == 0


def test_a_smaller_buffer_lets_the_oldest_go() -> None:
    """Resizing gives what no longer fits."""
    queue = FairQueue[int]()
    caller = Caller[int](capacity=4, max_in_flight=4)
    for number in range(4):
        queue.push(caller, number)
    assert queue.resize(caller, 1) == [0, 1, 2]
    assert queue.take() == (caller, 3)


class Queueing(RuleBasedStateMachine):
    """Any sequence of calls: no frame is lost or doubled, and no bound is passed."""

    callers = Bundle("callers")

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue[tuple[int, int]]()
        self.expected: dict[Caller[tuple[int, int]], list[tuple[int, int]]] = {}
        self.in_flight: dict[Caller[tuple[int, int]], int] = {}
        self.pushed = 0

    @rule(target=callers, capacity=st.integers(1, 3), most=st.integers(1, 3))
    def join(self, capacity: int, most: int) -> Caller[tuple[int, int]]:
        """A caller comes."""
        caller = Caller[tuple[int, int]](capacity=capacity, max_in_flight=most)
        self.expected[caller], self.in_flight[caller] = [], 0
        return caller

    @rule(caller=callers)
    def push(self, caller: Caller[tuple[int, int]]) -> None:
        """A frame comes; if too many wait, the oldest of this caller goes."""
        item = (id(caller), self.pushed)
        self.pushed += 1
        dropped = self.queue.push(caller, item)
        if caller.left:
            assert dropped == item
            return
        waiting = self.expected[caller]
        waiting.append(item)
        assert dropped == (waiting.pop(0) if len(waiting) > caller.capacity else None)

    @rule()
    def take(self) -> None:
        """A worker takes the oldest frame of some caller that may have one taken, if there is any."""
        may = [
            c
            for c, waiting in self.expected.items()
            if waiting and self.in_flight[c] < c.max_in_flight
        ]
        taken = self.queue.take()
        assert (taken is not None) == bool(may)
        if taken is not None:
            caller, item = taken
            assert caller in may
            assert item == self.expected[caller].pop(0)
            self.in_flight[caller] += 1

    @rule(caller=callers)
    def release(self, caller: Caller[tuple[int, int]]) -> None:
        """An answer reaches its caller."""
        if self.in_flight[caller]:
            self.in_flight[caller] -= 1
            self.queue.release(caller)

    @rule(caller=callers)
    def leave(self, caller: Caller[tuple[int, int]]) -> None:
        """A caller goes."""
        self.queue.leave(caller)
        self.expected[caller] = []

    @invariant()
    def nothing_is_lost(self) -> None:
        """As many wait as were pushed and neither dropped, taken nor forgotten."""
        assert len(self.queue) == sum(map(len, self.expected.values()))


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=6))
def test_turns_differ_by_at_most_one(sizes: list[int]) -> None:
    """While all have frames waiting, no caller is ever more than one frame ahead of another."""
    queue = FairQueue[int]()
    callers = [Caller[int](capacity=20, max_in_flight=20) for _ in sizes]
    for caller, size in zip(callers, sizes, strict=True):
        for number in range(size):
            queue.push(caller, number)
    for _ in range(min(sizes) * len(sizes)):
        assert queue.take() is not None
        counts = [caller.in_flight for caller in callers]
        assert max(counts) - min(counts) <= 1
