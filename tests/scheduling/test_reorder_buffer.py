"""Answers in the order of their frames."""

from hypothesis import given
from hypothesis import strategies as st

from detector_service.scheduling.reorder_buffer import ReorderBuffer


def test_an_early_answer_waits_for_those_before_it() -> None:
    """Nothing is given on until all before it is there."""
    answers = ReorderBuffer[str]()
    assert answers.put(1, "b") == []
    assert answers.put(2, "c") == []
    assert answers.put(0, "a") == ["a", "b", "c"]
    assert answers.put(3, "d") == ["d"]


@given(st.permutations(range(12)))
def test_whatever_the_order_of_arrival(arrivals: list[int]) -> None:
    """All come out once, in order."""
    answers = ReorderBuffer[int]()
    assert [out for number in arrivals for out in answers.put(number, number)] == list(range(12))
