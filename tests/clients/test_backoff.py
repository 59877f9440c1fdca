"""How long to wait before the next attempt."""

from crowd_detector._backoff import Backoff
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(0, 1), min_size=1, max_size=100))
def test_the_waits_grow_to_a_bound_and_are_drawn_evenly_below(draws: list[float]) -> None:
    """From nothing to 0.1 s, 0.2 s, 0.4 s ... 5 s."""
    numbers = iter(draws)
    backoff = Backoff(lambda low, high: low + next(numbers) * (high - low))
    for attempt, draw in enumerate(draws):
        most = min(5.0, 0.1 * 2**attempt)
        assert abs(backoff.next() - draw * most) < 1e-9


def test_what_the_service_asked_for_is_waited_for_at_least() -> None:
    """And the jitter comes on top, so that not all come back at that moment."""
    assert Backoff(lambda _, high: high).next(3.0) == 3.1


def test_after_a_success_it_begins_again() -> None:
    """With the shortest wait."""
    backoff = Backoff(lambda _, high: high)
    assert [backoff.next(), backoff.next()] == [0.1, 0.2]
    backoff.reset()
    assert backoff.next() == 0.1
