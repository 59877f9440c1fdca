from statistics import mean

import pytest

from benchmarks.capacity import Capacity


def test_a_contender_answers_what_its_calibrations_say_until_it_was_saturated() -> None:
    capacity = Capacity([160.0, 180.0])
    assert capacity.fps == 170
    capacity.add(150.0)
    assert capacity.fps == 150


def test_one_lucky_measurement_does_not_raise_what_half_of_it_is() -> None:
    capacity = Capacity([176.0, 168.0])
    for fps in (167.0, 206.0, 166.0, 165.0):
        capacity.add(fps)
    assert capacity.fps == pytest.approx(mean((166, 167)))


def test_a_measurement_in_which_nothing_was_answered_says_nothing() -> None:
    capacity = Capacity([0.0, 20.0])
    capacity.add(0.0)
    assert capacity.fps == 20


def test_of_a_contender_that_answers_nothing_nothing_is_known() -> None:
    assert Capacity([0.0, 0.0]).fps == 0
