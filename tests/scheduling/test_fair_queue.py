"""Whose frame is next: the newest stay, time is shared by weight, nothing is late, nothing without bound."""

from collections import Counter
from collections.abc import Iterator

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from detector_service.scheduling.fair_queue import Caller, Dropped, FairQueue, Flow, Taken

SUPERSEDED, LATE, MEMORY = (
    pb.DROP_REASON_SUPERSEDED,
    pb.DROP_REASON_LATE,
    pb.DROP_REASON_MEMORY_LIMITED,
)


def caller_of(
    capacity: int = 9, max_in_flight: int = 9, weight: float = 1.0, *, yields: bool = True
) -> Caller[str]:
    """Make a caller with a flow of its own."""
    return Caller[str](
        capacity=capacity, max_in_flight=max_in_flight, flow=Flow(weight), yields=yields
    )


def taken_from(queue: FairQueue[str], now: float = 0.0) -> Iterator[str]:
    """Take frames until none may be taken."""
    while (taken := queue.take(now)[0]) is not None:
        yield taken.item


def reasons(dropped: list[Dropped[str]]) -> list[tuple[str, int]]:
    """Say what was dropped, and why."""
    return [(each.item, each.reason) for each in dropped]


def test_frames_of_one_caller_leave_in_their_order() -> None:
    """First come, first taken."""
    queue, caller = FairQueue[str](), caller_of(3)
    assert not any(queue.push(caller, name) for name in "abc")
    assert list(taken_from(queue)) == ["a", "b", "c"]


def test_the_oldest_makes_room_for_the_newest() -> None:
    """Who watches live wants what is, not what was."""
    queue, caller = FairQueue[str](), caller_of(2)
    dropped = [each for name in "abcde" for each in queue.push(caller, name)]
    assert reasons(dropped) == [("a", SUPERSEDED), ("b", SUPERSEDED), ("c", SUPERSEDED)]
    assert len(queue) == 2
    assert list(taken_from(queue)) == ["d", "e"]


def test_what_free_workers_are_about_to_take_does_not_wait() -> None:
    """Frames that come in pairs while nobody works lose none; others' frames are counted first."""
    queue, caller, other = FairQueue[str](), caller_of(1), caller_of(1)
    assert reasons(queue.push(caller, "a", free=2)) == []
    assert reasons(queue.push(caller, "b", free=2)) == []
    assert reasons(queue.push(caller, "c", free=2)) == []
    assert reasons(queue.push(caller, "d", free=2)) == [("a", SUPERSEDED)]
    assert reasons(queue.push(other, "e", free=2)) == []
    assert reasons(queue.push(other, "f", free=2)) == [("e", SUPERSEDED)]


def test_a_caller_that_may_have_nothing_taken_gets_no_room_for_it() -> None:
    """Free workers are none for a client that does not read its answers."""
    queue, caller = FairQueue[str](), caller_of(1, max_in_flight=1)
    queue.push(caller, "a")
    assert queue.take(0.0)[0] is not None
    queue.push(caller, "b", free=5)
    assert reasons(queue.push(caller, "c", free=5)) == [("b", SUPERSEDED)]


def test_a_flood_takes_nothing_from_the_others() -> None:
    """A caller with many frames gets one turn, as does each with one."""
    queue = FairQueue[str]()
    flood, first, second = caller_of(50, 50), caller_of(), caller_of()
    for number in range(50):
        queue.push(flood, f"flood {number}")
    queue.push(first, "first")
    queue.push(second, "second")
    taken = queue.take(0.0)[0]
    assert taken is not None
    queue.finish(taken, 0.01)
    assert list(taken_from(queue))[:3] == ["first", "second", "flood 1"]


def test_a_caller_with_enough_in_work_waits_and_others_do_not() -> None:
    """A client that does not read its answers holds up nobody but itself."""
    queue, slow, quick = FairQueue[str](), caller_of(9, 1), caller_of(9, 1)
    for caller, name in ((slow, "slow"), (slow, "slow again"), (quick, "quick")):
        queue.push(caller, name)
    assert list(taken_from(queue)) == ["slow", "quick"]
    queue.release(slow)
    assert list(taken_from(queue)) == ["slow again"]


def test_what_a_caller_leaves_behind_is_forgotten() -> None:
    """Work for a caller that is gone is not done, and what it still sends is not kept."""
    queue, caller = FairQueue[str](), caller_of(3)
    queue.push(caller, "a", size=5)
    queue.push(caller, "b", size=5)
    queue.leave(caller)
    assert (len(queue), queue.waiting_bytes) == (0, 0)
    assert reasons(queue.push(caller, "c", size=5)) == [("c", SUPERSEDED)]
    assert list(taken_from(queue)) == []
    assert (len(queue), queue.waiting_bytes) == (0, 0)


def test_a_smaller_buffer_lets_the_oldest_go() -> None:
    """Resizing gives what no longer fits."""
    queue, caller = FairQueue[str](), caller_of(4)
    for name in "abcd":
        queue.push(caller, name)
    assert reasons(queue.resize(caller, 1)) == [(name, SUPERSEDED) for name in "abc"]
    assert list(taken_from(queue)) == ["d"]


def shared_out(
    weights: list[float], costs: list[float], seconds: float
) -> tuple[list[float], list[int]]:
    """Let one worker serve callers that always have frames; return its seconds, and frames, for each."""
    queue = FairQueue[str]()
    callers = [caller_of(weight=weight) for weight in weights]
    spent, frames = [0.0] * len(weights), [0] * len(weights)
    while sum(spent) < seconds:
        for caller in callers:
            if not caller.waiting:
                queue.push(caller, "frame")
        taken = queue.take(0.0)[0]
        assert taken is not None
        number = callers.index(taken.caller)
        queue.finish(taken, costs[number])
        queue.release(taken.caller)
        spent[number] += costs[number]
        frames[number] += 1
    return spent, frames


def test_priorities_are_shares() -> None:
    """One of priority 20 gets twice what one of 10 gets, and the lowest gets its part."""
    _, frames = shared_out([20, 10, 1], [0.01] * 3, 31.0)
    assert frames == pytest.approx([2000, 1000, 100], rel=0.02)


@pytest.mark.parametrize("first", [0.01, 0.1, 1.0, 100.0])
def test_a_slow_start_is_soon_forgotten(first: float) -> None:
    """Shares are about right at once, though the very first frame took far longer than those after it."""
    queue, starting = FairQueue[str](), caller_of()
    measured(queue, starting, first)
    low, high = caller_of(30, 3, weight=10), caller_of(30, 3, weight=20)
    for _ in range(30):
        queue.push(low, "low")
        queue.push(high, "high")
    order = []
    for _ in range(30):
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        queue.release(taken.caller)
        order.append(taken.item)
    assert 20 <= order.count("high") <= 25


def test_what_is_shared_is_time() -> None:
    """A camera whose frames take ten times as long gets a tenth of the frames, and the same time."""
    spent, frames = shared_out([1, 1], [0.1, 0.01], 100.0)
    assert spent == pytest.approx([50, 50], rel=0.05)
    assert frames == pytest.approx([500, 5000], rel=0.05)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 10.0, 100.0]), min_size=2, max_size=6),
    measured=st.lists(st.floats(0.008, 0.012), min_size=1, max_size=20),
)
def test_cameras_of_one_kind_get_frames_by_weight(
    weights: list[float], measured: list[float]
) -> None:
    """To the frame, whatever chance does to what is measured: the bound of the paper's theorem 1."""
    queue = FairQueue[str]()
    callers = [caller_of(weight=weight) for weight in weights]
    frames = [0] * len(weights)
    for number in range(500):
        for caller in callers:
            if not caller.waiting:
                queue.push(caller, "frame")
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, measured[number % len(measured)])
        queue.release(taken.caller)
        frames[callers.index(taken.caller)] += 1
    level = [count / weight for count, weight in zip(frames, weights, strict=True)]
    for one in range(len(weights)):
        for other in range(len(weights)):
            apart = abs(level[one] - level[other])
            # The very first frame is charged nothing, and charges move while the mean of all does.
            assert apart <= 2.5 * (1 / weights[one] + 1 / weights[other])


@settings(max_examples=60, deadline=None)
@given(
    each=st.lists(
        st.tuples(st.sampled_from([1.0, 2.0, 10.0]), st.floats(0.001, 0.5)), min_size=2, max_size=6
    )
)
def test_no_flow_is_ever_far_behind(each: list[tuple[float, float]]) -> None:
    """Whatever frames take, none gets less than a third of the time that its weight gives it."""
    weights, costs = [weight for weight, _ in each], [cost for _, cost in each]
    spent, _ = shared_out(weights, costs, 2000 * max(costs))
    level = [seconds / weight for seconds, weight in zip(spent, weights, strict=True)]
    assert min(level) >= max(level) / 3


def test_who_was_away_saves_up_nothing() -> None:
    """A flow that had nothing waiting for long takes turns with the others, and does not catch up."""
    queue, busy, back = FairQueue[str](), caller_of(), caller_of()
    for _ in range(100):
        queue.push(busy, "busy")
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        queue.release(busy)
    order = []
    for _ in range(20):
        for caller, name in ((busy, "busy"), (back, "back")):
            if not caller.waiting:
                queue.push(caller, name)
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        queue.release(taken.caller)
        order.append(taken.item)
    assert Counter(order) == {"busy": 10, "back": 10}


def test_a_frame_that_got_stuck_is_an_accident() -> None:
    """Its camera waits for a second's worth of the others' work, and not for all the time that was lost."""
    queue, unlucky, other = FairQueue[str](), caller_of(), caller_of()
    measured(queue, other, 0.01)
    measured(queue, unlucky, 1000.0)
    order = []
    for _ in range(220):
        for caller, name in ((unlucky, "unlucky"), (other, "other")):
            if not caller.waiting:
                queue.push(caller, name)
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        queue.release(taken.caller)
        order.append(taken.item)
    assert order.index("unlucky") <= 101
    assert order[-100:].count("unlucky") >= 45


def test_many_callers_of_one_flow_have_its_share_together() -> None:
    """Unary calls, however many, take no more from a stream than another stream would."""
    queue, stream = FairQueue[str](), caller_of(50, 50)
    unary = Flow[str](1.0)
    for number in range(40):
        queue.push(stream, "stream")
        queue.push(Caller[str](capacity=1, max_in_flight=1, flow=unary), f"call {number}")
    order = []
    for _ in range(20):
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        order.append(taken.item)
    assert order.count("stream") == 10
    assert [item for item in order if item != "stream"] == [f"call {n}" for n in range(10)]


def test_a_weight_may_change() -> None:
    """From the next frame on."""
    queue, first, second = FairQueue[str](), caller_of(200, 200), caller_of(200, 200)
    queue.reweigh(first.flow, 3.0)
    for _ in range(200):
        queue.push(first, "first")
        queue.push(second, "second")
    order = []
    for _ in range(80):
        taken = queue.take(0.0)[0]
        assert taken is not None
        queue.finish(taken, 0.01)
        order.append(taken.item)
    assert order.count("first") == pytest.approx(60, abs=2)


def measured(queue: FairQueue[str], caller: Caller[str], seconds: float) -> None:
    """Let a frame of a caller take so long."""
    queue.push(caller, "measured")
    taken = queue.take(0.0)[0]
    assert taken is not None
    queue.finish(taken, seconds)
    queue.release(caller)


def test_a_frame_that_would_be_late_is_passed_over() -> None:
    """Expired, or not to be done in time by what frames of its stream take; the next one is in time."""
    queue, caller = FairQueue[str](), caller_of()
    measured(queue, caller, 2.0)
    for name, expires in (("over", 9.0), ("would be late", 11.0), ("in time", 13.0)):
        queue.push(caller, name, size=7, expires=expires)
    taken, dropped = queue.take(10.0)
    assert taken is not None
    assert taken.item == "in time"
    assert reasons(dropped) == [("over", LATE), ("would be late", LATE)]
    assert (len(queue), queue.waiting_bytes) == (0, 0)


def test_late_frames_of_one_caller_leave_the_turn_to_others() -> None:
    """And where all are late, nothing is taken and all are told."""
    queue, hurried, patient = FairQueue[str](), caller_of(), caller_of()
    queue.push(hurried, "late", expires=1.0)
    queue.push(patient, "patient")
    taken, dropped = queue.take(2.0)
    assert taken is not None
    assert taken.item == "patient"
    assert reasons(dropped) == [("late", LATE)]
    queue.push(hurried, "late again", expires=1.0)
    taken, dropped = queue.take(2.0)
    assert taken is None
    assert reasons(dropped) == [("late again", LATE)]


def foreseen(queue: FairQueue[str], caller: Caller[str]) -> float:
    """Return the seconds that a frame of a caller is expected to take, while nothing waits."""
    return queue.expected_wait(caller.flow, 1, workers=1)


def test_what_one_bad_moment_taught_is_forgotten() -> None:
    """A stream whose frames all seem too late gets one tried before long, and goes on as before."""
    queue, caller, other = FairQueue[str](), caller_of(), caller_of()
    measured(queue, other, 0.01)
    for _ in range(30):
        measured(queue, caller, 1.0)
    tries = 0
    while True:
        queue.push(caller, "frame", expires=0.1)
        taken, _ = queue.take(0.0)
        tries += 1
        if taken is not None:
            break
    assert 2 <= tries <= 20
    queue.finish(taken, 0.01)
    assert foreseen(queue, caller) < 0.1
    assert foreseen(queue, other) == 0.01  # none of its business


def test_refusals_of_a_new_caller_are_its_own() -> None:
    """A stream that asks for the impossible does not change what is foreseen for others."""
    queue, known, new = FairQueue[str](), caller_of(), caller_of()
    measured(queue, known, 1.0)
    for _ in range(50):
        queue.push(new, "frame", expires=0.001)
        queue.take(0.0)
    assert foreseen(queue, known) == 1.0
    assert foreseen(queue, caller_of()) > 0.9


def test_frames_that_are_passed_over_together_are_one_refusal() -> None:
    """However many wait, none is begun because those before it were refused a moment ago."""
    queue, caller = FairQueue[str](), caller_of(capacity=32)
    measured(queue, caller, 1.0)
    for number in range(32):
        queue.push(caller, str(number), expires=0.5)
    taken, late = queue.take(0.0)
    assert taken is None
    assert len(late) == 32
    assert foreseen(queue, caller) > 0.5


def test_who_asks_for_the_impossible_pays_for_what_is_tried() -> None:
    """Refusals make a frame seem short, and not cheap: others keep their share."""
    queue, hasty, other = FairQueue[str](), caller_of(), caller_of()
    measured(queue, hasty, 0.02)
    spent = Counter[str]()
    for _ in range(5000):
        queue.push(hasty, "hasty", expires=0.001)
        if not other.waiting:
            queue.push(other, "other")
        taken, _ = queue.take(0.0)
        assert taken is not None
        queue.finish(taken, 0.02)
        queue.release(taken.caller)
        spent[taken.item] += 1
    assert 0 < spent["hasty"] <= spent["other"]


def test_where_bytes_run_out_the_one_with_most_gives_up_its_oldest() -> None:
    """Not the one who came last, and not those that do not yield."""
    queue = FairQueue[str](max_bytes=100)
    large, small, call = caller_of(), caller_of(), caller_of(yields=False)
    queue.push(call, "call", size=50)
    queue.push(large, "large 1", size=20)
    queue.push(large, "large 2", size=20)
    assert reasons(queue.push(small, "small 1", size=10)) == []
    assert reasons(queue.push(small, "small 2", size=10)) == [("large 1", MEMORY)]
    assert queue.waiting_bytes == 90
    assert reasons(queue.push(small, "huge", size=80)) == [
        ("small 1", MEMORY),
        ("small 2", MEMORY),
        ("huge", MEMORY),
    ]
    assert list(taken_from(queue)) == ["call", "large 2"]


def test_the_wait_is_foreseen_by_what_waits_and_by_weights() -> None:
    """While others have frames a share gets its part of the workers; while none have, all of them."""
    queue, unary, stream = FairQueue[str](), caller_of(weight=1), caller_of(weight=3)
    assert queue.expected_wait(unary.flow, 1, workers=2) == 0.0
    measured(queue, unary, 0.5)
    assert queue.expected_wait(unary.flow, 1, workers=2) == 0.5
    assert queue.expected_wait(unary.flow, 8, workers=2) == 2.0
    for _ in range(4):
        queue.push(unary, "unary")
    assert queue.expected_wait(unary.flow, 0, workers=2) == 1.0
    queue.push(stream, "stream")
    assert queue.expected_wait(unary.flow, 4, workers=2) == 8.0


class Queueing(RuleBasedStateMachine):
    """Any sequence of calls: no frame is lost or doubled, and no bound is passed."""

    callers = Bundle("callers")
    MOST = 30

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue[str](max_bytes=self.MOST)
        self.flows: list[Flow[str]] = [Flow(1.0), Flow(5.0)]
        self.expected: dict[Caller[str], list[tuple[str, int, float]]] = {}
        self.in_flight: dict[Caller[str], list[Taken[str]]] = {}
        self.unreleased: Counter[Caller[str]] = Counter()
        self.pushed = 0
        self.now = 0.0

    @rule(
        target=callers,
        capacity=st.integers(1, 3),
        most=st.integers(1, 3),
        flow=st.none() | st.integers(0, 1),
    )
    def join(self, capacity: int, most: int, flow: int | None) -> Caller[str]:
        """A caller comes, with a flow of its own or one of two that others have too."""
        caller = Caller[str](
            capacity=capacity,
            max_in_flight=most,
            flow=Flow(2.0) if flow is None else self.flows[flow],
        )
        self.expected[caller], self.in_flight[caller] = [], []
        return caller

    @rule(
        caller=callers,
        size=st.integers(0, 12),
        patience=st.floats(0, 5) | st.just(float("inf")),
        free=st.integers(0, 2),
    )
    def push(self, caller: Caller[str], size: int, patience: float, free: int) -> None:
        """A frame comes; too many of this caller, or bytes of all, and old ones go."""
        name, expires = f"frame {self.pushed}", self.now + patience
        self.pushed += 1
        dropped = self.queue.push(caller, name, size=size, expires=expires, free=free)
        if caller.left:
            assert [each.item for each in dropped] == [name]
            return
        self.expected[caller].append((name, size, expires))
        self.forget(dropped)
        if not free:
            assert len(self.expected[caller]) <= caller.capacity
        assert len(self.expected[caller]) <= caller.capacity + free

    @rule(seconds=st.floats(0, 1))
    def take(self, seconds: float) -> None:
        """A worker takes the oldest frame of some caller that is not late, if there is any."""
        self.now += seconds
        may = [
            caller
            for caller, waiting in self.expected.items()
            if self.unreleased[caller] < caller.max_in_flight
            and any(expires == float("inf") for _, _, expires in waiting)
        ]
        taken, late = self.queue.take(self.now)
        assert all(each.reason == LATE for each in late)
        self.forget(late)
        assert taken is not None or not may
        if taken is not None:
            item, _, expires = self.expected[taken.caller].pop(0)
            assert taken.item == item
            assert self.now <= expires
            self.in_flight[taken.caller].append(taken)
            self.unreleased[taken.caller] += 1
            assert self.unreleased[taken.caller] <= taken.caller.max_in_flight

    @rule(caller=callers, seconds=st.floats(0, 10))
    def finish(self, caller: Caller[str], seconds: float) -> None:
        """A worker is done with a frame."""
        if self.in_flight[caller]:
            self.queue.finish(self.in_flight[caller].pop(), seconds)

    @rule(caller=callers)
    def release(self, caller: Caller[str]) -> None:
        """An answer reaches its caller."""
        if self.unreleased[caller] > len(self.in_flight[caller]):
            self.unreleased[caller] -= 1
            self.queue.release(caller)

    @rule(caller=callers, capacity=st.integers(1, 3))
    def resize(self, caller: Caller[str], capacity: int) -> None:
        """A caller wants another buffer."""
        self.forget(self.queue.resize(caller, capacity))
        assert len(self.expected[caller]) <= capacity

    @rule(caller=callers, weight=st.sampled_from([0.5, 1.0, 9.0]))
    def reweigh(self, caller: Caller[str], weight: float) -> None:
        """A caller's weight changes."""
        self.queue.reweigh(caller.flow, weight)

    @rule(caller=callers)
    def leave(self, caller: Caller[str]) -> None:
        """A caller goes."""
        self.queue.leave(caller)
        self.expected[caller] = []

    def forget(self, dropped: list[Dropped[str]]) -> None:
        """Each dropped frame was the oldest of its caller."""
        for caller, item, _ in dropped:
            assert self.expected[caller].pop(0)[0] == item

    @invariant()
    def nothing_is_lost(self) -> None:
        """As many wait, and hold as many bytes, as were pushed and neither dropped, taken nor forgotten."""
        waiting = [frame for frames in self.expected.values() for frame in frames]
        assert len(self.queue) == len(waiting)
        assert self.queue.waiting_bytes == sum(size for _, size, _ in waiting) <= self.MOST

    @invariant()
    def each_frame_is_counted_once(self) -> None:
        """By its caller, and by the flow of its caller."""
        for caller, waiting in self.expected.items():
            assert [item for item, _, _ in waiting] == [frame.item for frame in caller.waiting]
            assert caller.size == sum(size for _, size, _ in waiting)
        for flow in {caller.flow for caller in self.expected}:
            callers = [caller for caller in self.expected if caller.flow is flow]
            assert flow.waiting == sum(len(caller.waiting) for caller in callers)

    @invariant()
    def nobody_has_two_turns(self) -> None:
        """However often it comes back."""
        flows = [flow for _, _, flow in self.queue._turns]
        assert len(flows) == len(set(flows))
        for flow in flows:
            assert len(flow.ready) == len(set(flow.ready)) > 0

    @invariant()
    def what_may_be_taken_has_a_turn(self) -> None:
        """No caller is forgotten: whoever may have a frame taken is listed, and so is its flow."""
        for caller, waiting in self.expected.items():
            if waiting and self.unreleased[caller] < caller.max_in_flight:
                assert caller.listed
                assert caller in caller.flow.ready
                assert any(flow is caller.flow for _, _, flow in self.queue._turns)


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
