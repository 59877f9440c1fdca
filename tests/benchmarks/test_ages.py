import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ages import described, percentile


@pytest.mark.parametrize(
    ("share", "value"), [(0.01, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)]
)
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.001, 1))
def test_at_least_the_share_does_not_exceed_it(values: list[float], share: float) -> None:
    bound = percentile(sorted(values), share)
    assert sum(value <= bound for value in values) >= share * len(values) - 1e-9
    assert sum(value < bound for value in values) < share * len(values)


def test_ages_are_told_in_milliseconds() -> None:
    assert described([0.2, 0.1, 0.3]) == {
        "age_p50_ms": 200.0,
        "age_p95_ms": 300.0,
        "age_p99_ms": 300.0,
    }


def test_nothing_is_said_where_nothing_was_answered() -> None:
    assert described([]) == {}
