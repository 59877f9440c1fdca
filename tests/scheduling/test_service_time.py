"""How long a frame is expected to take: follows what is measured, and cannot get stuck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.scheduling.service_time import ServiceTime, ServiceTimes

SECONDS = st.floats(1e-3, 100)


def test_the_first_frame_says_all() -> None:
    """Before it nothing is expected, and nothing charged."""
    times, flow = ServiceTimes(), ServiceTime()
    assert (times.foreseen(flow), times.charge(flow)) == (0, 0)
    times.add(flow, 3.0)
    assert (times.foreseen(flow), times.charge(flow)) == (3, 3)
    assert times.foreseen(ServiceTime()) == 3  # of others too


@given(seconds=st.lists(SECONDS, min_size=1))
def test_it_lies_among_what_was_measured(seconds: list[float]) -> None:
    """Whatever comes."""
    times, flow = ServiceTimes(), ServiceTime()
    for each in seconds:
        times.add(flow, each)
    for mean in (times.mean, times.foreseen(flow), times.charge(flow)):
        assert min(seconds) - 1e-9 <= mean <= max(seconds) + 1e-9


def test_it_follows_a_change() -> None:
    """After 30 frames of the new kind little is left of the old."""
    times, flow = ServiceTimes(), ServiceTime()
    times.add(flow, 100.0)
    for _ in range(30):
        times.add(flow, 1.0)
    assert times.foreseen(flow) == pytest.approx(1.0, abs=2.0)


def test_a_frame_that_got_stuck_counts_a_second() -> None:
    """An eighth of it, as each frame; where all take long, a long one is none that got stuck."""
    times, flow = ServiceTimes(), ServiceTime()
    times.add(flow, 0.01)
    times.add(flow, 1000.0)
    assert times.foreseen(flow) == pytest.approx(0.01 + (1 - 0.01) / 8)
    slow, model = ServiceTimes(), ServiceTime()
    slow.add(model, 2.0)
    slow.add(model, 10.0)
    assert slow.foreseen(model) == pytest.approx(3.0)


@given(others=SECONDS, own=SECONDS)
def test_a_flow_is_charged_what_it_takes(others: float, own: float) -> None:
    """Or, where that is about what all take, what all take: its own within a half."""
    times, flow, other = ServiceTimes(), ServiceTime(), ServiceTime()
    times.add(other, others)
    for _ in range(200):
        times.add(flow, own)
        for _ in range(9):
            times.add(other, others)
    foreseen, charge = times.foreseen(flow), times.charge(flow)
    assert charge in (foreseen, times.mean)
    assert foreseen * 2 / 3 - 1e-9 <= charge <= foreseen * 3 / 2 + 1e-9


@given(wrong=SECONDS, allowed=SECONDS)
def test_refusals_come_to_an_end(wrong: float, allowed: float) -> None:
    """However wrong it is, a bounded number of refusals later something is tried, and is believed if it took less."""
    times, flow = ServiceTimes(), ServiceTime()
    times.add(flow, wrong)
    for _ in range(87):  # 8/7 to the 87th is more than a hundred thousand
        times.refuse(flow)
    assert times.foreseen(flow) <= allowed
    assert times.charge(flow) == wrong
    times.add(flow, min(wrong, allowed))
    assert times.foreseen(flow) == pytest.approx(min(wrong, allowed))


def test_one_try_that_took_as_long_changes_nothing() -> None:
    """The refusals were right, and begin anew."""
    times, flow = ServiceTimes(), ServiceTime()
    times.add(flow, 1.0)
    for _ in range(20):
        times.refuse(flow)
    times.add(flow, 1.0)
    assert times.foreseen(flow) == 1.0
