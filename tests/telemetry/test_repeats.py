"""Events that are alike: few are let through, and none is left out of their sum."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from telemetry.repeats import Repeats


def test_a_flood_is_its_first_few_and_a_number_for_each_window() -> None:
    """Once it is over for a window, the next event is a first one again."""
    repeats: Repeats[str] = Repeats(first=3, seconds=10, most=8)
    assert [repeats.admit("full", 0) for _ in range(5)] == [True, True, True, False, False]
    assert repeats.admit("other", 1)
    assert repeats.next_end() == 10
    assert repeats.ended(9.9) == []
    assert repeats.ended(10) == [("full", 2)]
    assert repeats.next_end() is None
    assert not repeats.admit("full", 11)
    assert repeats.ended(20) == [("full", 1)]
    assert repeats.ended(30) == []
    assert repeats.admit("full", 30)


_events = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 5)))


@given(_events, st.integers(1, 4), st.integers(1, 4))
def test_none_is_lost_and_memory_is_bounded(
    events: list[tuple[int, float]], first: int, most: int
) -> None:
    """Whatever comes, and however many kinds of it."""
    repeats: Repeats[int] = Repeats(first=first, seconds=10, most=most)
    came, told = Counter[int](), Counter[int]()
    now = 0.0
    for key, pause in events:
        now += pause
        came[key] += 1
        told.update(dict(repeats.ended(now)))
        told[key] += repeats.admit(key, now)
        assert len(repeats._windows) <= most
        end = repeats.next_end()
        assert end is None or now < end <= now + 10
    told.update(dict(repeats.close()))
    assert told == came
    assert not repeats._windows
