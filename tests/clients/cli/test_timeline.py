"""The times of a video's pictures, as cameras and files give them."""

from fractions import Fraction

from crowd_detector.cli.timeline import Timeline
from hypothesis import given
from hypothesis import strategies as st

BASE = Fraction(1, 1000)


def placed(*pts: int | None) -> list[int]:
    """Return where pictures with these times come to lie."""
    timeline = Timeline(by_clock=False)
    return [timeline.place(each, BASE)[0] for each in pts]


def test_from_the_first_picture_on() -> None:
    """A picture without a time follows the one before; so does one a little too early."""
    assert placed(5000, 5040, None, 5080, 5070, 5120) == [0, 40, 41, 80, 81, 120]


def test_a_clock_that_begins_anew() -> None:
    """Time goes on, as it went before."""
    assert placed(0, 40, 5000, 0, 40, 80) == [0, 40, 5000, 9960, 10000, 10040]
    assert placed(0, 4960, 5000, 0, 40, 80) == [0, 4960, 5000, 5040, 5080, 5120]


def test_without_times_the_clock_counts() -> None:
    """Whatever is claimed."""
    clock = iter([100.0, 100.5, 102.0])
    timeline = Timeline(by_clock=True, now=lambda: next(clock))
    times = [timeline.place(pts, Fraction(1, 25)) for pts in (0, 1, 2)]
    assert [float(pts * base) for pts, base in times] == [0, 0.5, 2]


@given(st.lists(st.none() | st.integers(-(10**12), 10**12)))
def test_time_always_rises(pts: list[int | None]) -> None:
    """From 0 on."""
    times = placed(*pts)
    assert times == sorted(set(times))
    assert times[:1] in ([], [0])
