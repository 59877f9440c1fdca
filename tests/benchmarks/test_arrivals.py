from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arrivals import Arrivals, of_streams

_RATES = st.lists(st.floats(0.1, 1000), min_size=1, max_size=60)


def test_frames_are_due_at_a_steady_rate_whatever_becomes_of_them() -> None:
    camera = Arrivals(first=0.25, interval=0.5)
    assert [camera.due(index) for index in range(3)] == [0.25, 0.75, 1.25]


def test_a_window_has_its_begin_and_not_its_end() -> None:
    camera = Arrivals(first=0.25, interval=0.5)
    assert camera.between(0.25, 1.25) == 2
    assert camera.between(0.0, 0.25) == 0
    assert camera.between(-5.0, 10.25) == 20


@given(_RATES, st.integers())
def test_every_stream_begins_within_its_first_interval(rates: list[float], seed: int) -> None:
    for camera, rate in zip(of_streams(rates, seed), rates, strict=True):
        assert 0 <= camera.first < camera.interval
        assert camera.interval == 1 / rate


@given(_RATES, st.integers())
def test_the_same_seed_gives_every_contender_the_same_moments(
    rates: list[float], seed: int
) -> None:
    assert of_streams(rates, seed) == of_streams(rates, seed)


@given(st.floats(0.01, 5), st.floats(0.001, 2), st.floats(0, 20), st.floats(0, 20))
def test_windows_that_meet_count_every_frame_once(
    first: float, interval: float, length: float, more: float
) -> None:
    camera = Arrivals(first, interval)
    whole = camera.between(0, length + more)
    assert camera.between(0, length) + camera.between(length, length + more) == whole
