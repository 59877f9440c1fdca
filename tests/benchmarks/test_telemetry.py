"""What telemetry adds, from the rounds in which it was measured."""

from benchmarks.telemetry import MODES, OFF, summed_up


def test_what_a_mode_adds_is_by_the_round_that_it_was_measured_in() -> None:
    """A machine that slows from round to round slows all modes."""
    taken = [{OFF: spent, "page": spent + 0.1} for spent in (4.0, 5.0, 9.0)]
    found = summed_up(taken)
    assert found["cpu_ms_per_frame"] == {OFF: 5.0, "page": 5.1}
    assert round(found["added_ms_per_frame"]["page"], 6) == 0.1


def test_the_first_mode_is_the_one_without() -> None:
    """The others are held against it."""
    assert next(iter(MODES)) == OFF
    assert MODES[OFF] == (False, {})
