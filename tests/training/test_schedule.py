"""What a run does when it is how far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.schedule import (
    Budget,
    Stage,
    learning_rate,
    mosaic_at,
    parse_stages,
    stage_at,
)


def test_a_budget_is_time_or_epochs() -> None:
    """One of them, and more than nothing."""
    assert Budget.of(2.0, None).progress(seconds=30, epochs=5) == 0.25
    assert Budget.of(None, 4).progress(seconds=30, epochs=1) == 0.25
    assert Budget.of(1.0, None).progress(seconds=100, epochs=0) == 1
    for minutes, epochs in ((None, None), (1.0, 1), (0.0, None), (None, -1)):
        with pytest.raises(TrainingError, match="--minutes or --epochs"):
            Budget.of(minutes, epochs)


def test_the_learning_rate_rises_and_falls() -> None:
    """From nearly nothing to the highest, and down to 2 %."""
    assert learning_rate(1.0, 0.0) == pytest.approx(0.01)
    assert learning_rate(1.0, 0.01) == pytest.approx(0.5)
    assert learning_rate(1.0, 0.02) == pytest.approx(1.0)
    assert learning_rate(1.0, 0.51) == pytest.approx(0.51)
    assert learning_rate(1.0, 1.0) == pytest.approx(0.02)


@given(st.floats(0, 1))
def test_the_learning_rate_is_never_nothing_nor_too_high(progress: float) -> None:
    """Whenever."""
    assert 0 < learning_rate(1e-3, progress) <= 1e-3


def test_stages_follow_each_other() -> None:
    """The last one lasts to the end."""
    stages = parse_stages("256:0.25,416:0.75")
    assert stages == (Stage(256, 0.25), Stage(416, 0.75))
    assert [stage_at(stages, progress).side for progress in (0, 0.24, 0.25, 1.0)] == [
        256,
        256,
        416,
        416,
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("416", "give SIDE:SHARE"),
        ("416:1:2", "give SIDE:SHARE"),
        ("", "give SIDE:SHARE"),
        ("400:1", "multiples of 32"),
        ("0:1", "multiples of 32"),
        ("416:0.5", "add up to 1"),
        ("416:1.5,320:-0.5", "shares are more than 0"),
    ],
)
def test_other_stages_are_refused(text: str, said: str) -> None:
    """With what to give."""
    with pytest.raises(TrainingError, match=said):
        parse_stages(text)


def test_mosaics_end_before_the_run() -> None:
    """So that the last pictures are as in use."""
    assert [mosaic_at(0.75, 0.1, progress) for progress in (0, 0.89, 0.91, 1)] == [0.75, 0.75, 0, 0]
