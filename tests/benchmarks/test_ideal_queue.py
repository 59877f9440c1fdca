import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arrivals import Arrivals, of_streams
from benchmarks.ideal_queue import Parts, served, tail_vs_alone

_PARTS = st.builds(
    Parts,
    before=st.floats(0.001, 0.01),
    inference=st.floats(0.001, 0.01),
    models=st.integers(1, 3),
    after=st.floats(0.001, 0.01),
)


def test_a_frame_that_comes_while_another_is_worked_on_waits_for_what_one_core_is_short_of() -> (
    None
):
    """Two frames at once on one core: the older one is done first, the other after it."""
    parts = Parts(before=1.0, inference=2.0, models=1, after=1.0)
    at_once = [Arrivals(0.0, 100.0), Arrivals(0.0, 100.0)]
    assert sorted(served(parts, at_once, 1, seconds=1.0)) == [4.0, 8.0]
    assert served(parts, at_once, 2, seconds=1.0) == [4.0, 4.0]


def test_two_models_look_at_once_where_two_cores_are_free() -> None:
    """A frame that is alone takes as long with two models as with one; on one core it takes both times."""
    parts = Parts(before=1.0, inference=2.0, models=2, after=1.0)
    camera = [Arrivals(0.0, 100.0)]
    assert served(parts, camera, 2, seconds=1.0) == [parts.alone(2)] == [4.0]
    assert served(parts, camera, 1, seconds=1.0) == [parts.alone(1)] == [6.0]


@given(_PARTS, st.integers(1, 4))
def test_cameras_with_time_between_their_frames_wait_for_nothing(parts: Parts, cores: int) -> None:
    """One slow camera alone has no tail."""
    assert tail_vs_alone(parts, [Arrivals(0.0, 1.0)], cores) == pytest.approx(1.0)


@given(_PARTS, st.integers(1, 4), st.integers(2, 20), st.integers(0, 1000))
def test_every_frame_is_served_once_and_none_sooner_than_it_could_be(
    parts: Parts, cores: int, count: int, seed: int
) -> None:
    """Nothing is lost, and no age is below that of a frame that is alone."""
    one = parts.before + parts.models * parts.inference + parts.after
    streams = of_streams([0.5 * cores / one / count] * count, seed)
    found = served(parts, streams, cores, seconds=0.5)
    assert len(found) == sum(stream.between(0.0, 0.5) for stream in streams)
    assert all(age >= parts.alone(cores) - 1e-9 for age in found)
