"""How often frames are let through."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from detector_service.scheduling.rate_limiter import RateLimiter


def test_no_limit_lets_everything_through() -> None:
    """0 frames a second means no limit."""
    limiter = RateLimiter(0)
    assert all(limiter.admit(0.0) for _ in range(100))


def test_a_third_of_a_camera_s_frames() -> None:
    """10 of 30 frames a second, evenly."""
    limiter = RateLimiter(10)
    admitted = [frame for frame in range(90) if limiter.admit(frame / 30)]
    assert len(admitted) in (30, 31)
    assert {b - a for a, b in pairwise(admitted[1:])} <= {2, 3, 4}


def test_a_camera_at_the_limit_loses_nothing_to_jitter() -> None:
    """Frames that come a little early or late at the very rate allowed all pass."""
    limiter = RateLimiter(30)
    assert all(limiter.admit(frame / 30 + (0.008 if frame % 2 else 0.0)) for frame in range(300))


def test_a_pause_saves_up_nothing() -> None:
    """After a silence no burst is let through."""
    limiter = RateLimiter(10)
    assert limiter.admit(0.0)
    assert [limiter.admit(60.0 + n / 1000) for n in range(10)] == [True] + [False] * 9


@given(rate=st.floats(0.5, 200), gaps=st.lists(st.floats(0, 1), max_size=200))
def test_never_more_than_the_rate_allows(rate: float, gaps: list[float]) -> None:
    """Over any stretch: the rate times its length, one frame, and one for jitter."""
    limiter, now, admitted = RateLimiter(rate), 0.0, []
    for gap in gaps:
        now += gap
        if limiter.admit(now):
            admitted.append(now)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= (admitted[last] - start) * rate + 2 + 1e-6


def test_changing_the_rate_is_no_way_around_it() -> None:
    """What was let through before counts, whatever the rate is changed to and fro."""
    limiter = RateLimiter(1)
    assert limiter.admit(0.0)
    for step in range(1, 100):
        limiter.change(0.5 if step % 2 else 1)
        assert not limiter.admit(step / 1000)
    limiter.change(100)
    assert limiter.admit(0.2)


def test_a_higher_rate_applies_at_once() -> None:
    """A frame that came early under a slow rate does not hold up the next under a quick one."""
    limiter = RateLimiter(0.1)
    assert limiter.admit(0.0)
    assert limiter.admit(5.0)
    limiter.change(30)
    assert limiter.admit(5.04)


@given(
    rates=st.lists(st.one_of(st.just(0.0), st.floats(1e-30, 1.0)), min_size=1, max_size=200),
    limit=st.floats(0.5, 2.0),
)
def test_no_sequence_of_rates_gets_past_the_limit(rates: list[float], limit: float) -> None:
    """However small the rates in between, a limit that always applies holds over the whole."""
    limiter, admitted = RateLimiter(limit), 0
    for step, rate in enumerate(rates):
        limiter.change(min(rate, limit) if rate else limit)
        admitted += limiter.admit(step / 100)
    assert admitted <= len(rates) / 100 * limit + 2
