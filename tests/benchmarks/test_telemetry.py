"""What telemetry adds, from the rounds in which it was measured."""

import pytest

from benchmarks.telemetry import MODES, OFF, summed_up


def test_what_a_mode_adds_is_by_the_round_that_it_was_measured_in() -> None:
    """A machine that slows from round to round slows all modes."""
    taken = [{OFF: spent, "page": spent + 0.1} for spent in (4.0, 5.0, 9.0)]
    found = summed_up(taken)
    assert found["cpu_ms_per_frame"] == {OFF: 5.0, "page": 5.1}
    assert found["added_ms_per_frame"]["page"] == pytest.approx(0.1)
    assert found["standard_error"]["page"] == pytest.approx(0, abs=1e-9)


def test_how_exact_a_difference_is_is_told() -> None:
    """By the standard error of its mean: here the deviation is 0.2, and there are four."""
    taken = [{OFF: 4.0, "page": 4.0 + added} for added in (0.0, 0.0, 0.3464, 0.3464)]
    found = summed_up(taken)
    assert found["added_ms_per_frame"]["page"] == pytest.approx(0.1732)
    assert found["standard_error"]["page"] == pytest.approx(0.1, abs=1e-4)


def test_the_first_mode_is_the_one_without() -> None:
    """The others are held against it."""
    assert next(iter(MODES)) == OFF
    assert MODES[OFF] == (False, {})
