import pytest

from benchmarks.soak import growth


def test_memory_that_stays_does_not_grow() -> None:
    assert growth([200.0] * 100) == 1.0


def test_what_a_start_takes_is_no_growth() -> None:
    assert growth([50.0] * 15 + [200.0] * 85) == 1.0


def test_a_leak_is_seen() -> None:
    assert growth([100.0 + index for index in range(100)]) == pytest.approx(194.5 / 119.5)
