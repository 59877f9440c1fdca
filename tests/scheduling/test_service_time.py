"""How long a frame is expected to take: follows what is measured, and cannot get stuck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.scheduling.service_time import ServiceTime

SECONDS = st.floats(0, 100)


def test_the_first_frame_says_all() -> None:
    """Before it nothing is expected."""
    time = ServiceTime()
    assert (time.mean, time.known) == (0.0, False)
    time.add(3.0)
    assert (time.mean, time.known) == (3.0, True)


@given(seconds=st.lists(SECONDS, min_size=1))
def test_it_lies_among_what_was_measured(seconds: list[float]) -> None:
    """Whatever comes."""
    time = ServiceTime()
    for each in seconds:
        time.add(each)
    assert min(seconds) - 1e-9 <= time.mean <= max(seconds) + 1e-9


def test_it_follows_a_change() -> None:
    """After 30 frames of the new kind little is left of the old."""
    time = ServiceTime()
    time.add(100.0)
    for _ in range(30):
        time.add(1.0)
    assert time.mean == pytest.approx(1.0, abs=2.0)


@given(wrong=st.floats(1e-3, 1e3), allowed=st.floats(1e-3, 1e3))
def test_doubt_comes_to_an_end(wrong: float, allowed: float) -> None:
    """However wrong it is, a bounded number of refusals later something is tried."""
    time = ServiceTime()
    time.add(wrong)
    for _ in range(105):  # 8/7 to the 105th is more than a million
        time.doubt()
    assert time.mean <= allowed
