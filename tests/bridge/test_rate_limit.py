"""The token bucket."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.rate_limit import Pace, TokenBucket, Verdict
from detector_service.scheduling.rate_limiter import RateLimiter

GAPS = st.lists(st.floats(0, 0.5), max_size=200)


@given(st.floats(0.1, 100), st.integers(1, 20), GAPS)
def test_never_more_than_the_rate_and_one_burst(rate: float, burst: int, gaps: list[float]) -> None:
    """Over any stretch of time."""
    bucket, now, admitted = TokenBucket(rate, burst), 0.0, 0
    for gap in gaps:
        now += gap
        admitted += bucket.admit(now) is Verdict.ADMITTED
        assert admitted <= burst + now * rate + 1e-6


@given(st.floats(0.5, 100), st.integers(1, 20), st.integers(1, 100))
def test_who_keeps_to_the_rate_is_never_refused(rate: float, burst: int, count: int) -> None:
    """Evenly spaced."""
    bucket = TokenBucket(rate, burst)
    for number in range(count):
        assert bucket.admit(number / rate * 1.000001) is Verdict.ADMITTED


def test_no_limit() -> None:
    """A rate of 0."""
    bucket = TokenBucket(0, 1)
    assert {bucket.admit(0.0) for _ in range(1000)} == {Verdict.ADMITTED}


def test_a_burst_of_refusals_is_told_once() -> None:
    """And again once it was over for a second."""
    bucket = TokenBucket(1, 1)
    verdicts = [bucket.admit(now) for now in (0.0, 0.1, 0.2, 1.05, 1.1, 3.0, 3.5)]
    assert verdicts == [
        Verdict.ADMITTED,
        Verdict.FIRST_REFUSED,
        Verdict.REFUSED,
        Verdict.ADMITTED,
        Verdict.REFUSED,
        Verdict.ADMITTED,
        Verdict.FIRST_REFUSED,
    ]


@given(st.floats(0.1, 50), st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.09)), max_size=100))
def test_what_the_pace_lets_through_the_detector_does_too(
    rate: float, frames: list[tuple[float, float]]
) -> None:
    """Though each frame takes a little longer or shorter on its way: up to 9 % of the interval."""
    pace, detector, now = Pace(), RateLimiter(rate), 0.0
    pace.change(rate)
    arrived = 0.0
    for gap, delay in frames:
        now += gap / rate
        if pace.admit(now):
            arrived = max(arrived, now + delay / rate)
            assert detector.admit(arrived)


def test_an_even_camera_keeps_its_rate_and_a_fast_one_gets_it() -> None:
    """With some jitter; and without a limit, all is let through."""
    pace = Pace()
    assert all(pace.admit(0.0) for _ in range(100))
    pace.change(10)
    even = sum(pace.admit(1 + number / 10 + 0.03 * (number % 2)) for number in range(100))
    assert even == 100
    fast = sum(pace.admit(20 + number / 1000) for number in range(10_000))
    assert 99 <= fast <= 101
