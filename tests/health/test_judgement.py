"""What a few figures say of the service's health."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.health.judgement import (
    Ages,
    Limits,
    State,
    Vitals,
    judge,
    probe_is_due,
    stuck_workers,
)
from detector_service.settings import load_settings

_DEFAULTS = load_settings(_env_file=None)
USUAL = Limits(_DEFAULTS.health_interval, _DEFAULTS.watchdog_timeout)
SECONDS = st.floats(0, 1e6) | st.just(math.inf)
LIMITS = st.builds(Limits, interval=st.floats(0, 600), watchdog=st.floats(0, 3600))
VITALS = st.builds(
    Vitals, since_result=SECONDS, since_probe=SECONDS, in_work=st.lists(st.floats(0, 1e6))
)


@pytest.mark.parametrize(
    ("since_result", "in_work", "state"),
    [
        (0.1, [], State.READY),
        (8.0, [], State.READY),
        (8.1, [], State.FAILING),
        (0.1, [29.0, 0.1], State.READY),
        (9.0, [9.0, 9.0], State.FAILING),
        (38.0, [], State.FAILING),
        (38.1, [], State.STUCK),
        (0.1, [30.5, 0.1], State.STUCK),
        (40.0, [31.0], State.STUCK),
    ],
)
def test_what_the_service_is_fit_for(
    since_result: float, in_work: list[float], state: State
) -> None:
    """Results make it ready; a frame that does not come back is its end, whatever the others do, and so is a fault that stays."""
    assert judge(Vitals(since_result, in_work=in_work), USUAL) is state


def test_a_wedged_engine_is_known_within_ten_seconds() -> None:
    """By default; it has longer before its process is ended."""
    assert judge(Vitals(since_result=9.5), USUAL) is State.FAILING
    assert judge(Vitals(since_result=9.5, in_work=[29.0]), USUAL) is State.FAILING


def test_zero_is_no_limit() -> None:
    """Neither of the two."""
    vitals = Vitals(since_result=1e6, in_work=[1e6])
    assert judge(vitals, Limits(interval=0, watchdog=0)) is State.READY
    assert stuck_workers(vitals, Limits(interval=0, watchdog=0)) == 0
    assert not probe_is_due(vitals, Limits(interval=0, watchdog=0))


def test_a_picture_is_looked_at_where_nothing_else_shows_results() -> None:
    """Not while frames have them, nor one on the heels of another, nor two at once."""
    assert probe_is_due(Vitals(since_result=2.0), USUAL)
    assert not probe_is_due(Vitals(since_result=1.9), USUAL)
    assert not probe_is_due(Vitals(since_result=9.0, since_probe=1.9), USUAL)
    assert not probe_is_due(Vitals(since_result=9.0, since_probe=-math.inf), USUAL)


@given(vitals=VITALS, limits=LIMITS)
def test_one_that_is_to_look_has_time_to_before_it_is_not_ready(
    vitals: Vitals, limits: Limits
) -> None:
    """So an idle service stays ready."""
    if judge(vitals, limits) is State.FAILING:
        assert vitals.since_result >= 4 * limits.interval > 0
    if probe_is_due(vitals, limits):
        assert 0 < limits.interval <= vitals.since_result


@given(vitals=VITALS, limits=LIMITS, more=st.floats(0, 1e6))
def test_time_alone_makes_nothing_better(vitals: Vitals, limits: Limits, more: float) -> None:
    """What is not ready does not become so without a result."""
    badness = [State.READY, State.FAILING, State.STUCK]
    later = Vitals(
        vitals.since_result + more, vitals.since_probe, [each + more for each in vitals.in_work]
    )
    assert badness.index(judge(later, limits)) >= badness.index(judge(vitals, limits))
    assert stuck_workers(later, limits) >= stuck_workers(vitals, limits)


def test_a_process_that_stood_still_is_not_older() -> None:
    """Nor is what it was at; what it did as soon as it went on is as old as it is."""
    ages = Ages(1.25)
    assert ages.look(10, {"result": 10}) == {"result": 0}
    assert ages.look(11, {"result": 10}) == {"result": 1}
    an_hour_later = ages.look(3611, {"result": 10, "frame": 11, "begun since": 3610.5})
    assert an_hour_later == {"result": 2.25, "frame": 1.25, "begun since": 0.5}
    assert ages.look(3612, {"result": 3610.5, "frame": 11}) == {"result": 1, "frame": 2.25}


def test_a_process_that_is_slow_grows_older_all_the_same() -> None:
    """A frame that does not come back is found, however late each look at it is."""
    ages = Ages(1.25)
    looks = [ages.look(3.0 * number, {"frame": 0.0})["frame"] for number in range(30)]
    assert looks[-1] > 30


@given(st.lists(st.floats(0, 5)), st.floats(0, 2))
def test_nothing_is_older_than_it_is_nor_grows_younger(pauses: list[float], most: float) -> None:
    """Whenever it is looked at."""
    ages, now, before = Ages(most), 0.0, 0.0
    for pause in pauses:
        now += pause
        age = ages.look(now, {"frame": 0.0})["frame"]
        assert before <= age <= now
        before = age
