"""How grave a crowd is."""

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from detector_service.crowd.alerts import CrowdAlertLevels


def test_a_crowd_exceeds_its_threshold() -> None:
    """As many people as the threshold are no crowd; one more is, at the level configured."""
    levels = CrowdAlertLevels.parse("warning=1")
    assert levels.of(10, 10) is None
    assert levels.of(11, 10) == pb.ALERT_LEVEL_WARNING
    assert levels.of(1000, 10) == pb.ALERT_LEVEL_WARNING


def test_graver_levels_begin_at_multiples_of_the_threshold() -> None:
    """Each level holds from its multiple on, until the next."""
    levels = CrowdAlertLevels.parse("critical=3, info=1, error=1.5")
    seen = {people: levels.of(people, 10) for people in (10, 11, 15, 16, 30, 31)}
    assert seen == {
        10: None,
        11: pb.ALERT_LEVEL_INFO,
        15: pb.ALERT_LEVEL_INFO,
        16: pb.ALERT_LEVEL_ERROR,
        30: pb.ALERT_LEVEL_ERROR,
        31: pb.ALERT_LEVEL_CRITICAL,
    }


def test_a_threshold_of_nobody() -> None:
    """With a threshold of 0 one person is a crowd, of the lowest level."""
    levels = CrowdAlertLevels.parse("warning=1,critical=2")
    assert levels.of(0, 0) is None
    assert levels.of(1, 0) == pb.ALERT_LEVEL_WARNING
    assert levels.of(3, 0) == pb.ALERT_LEVEL_CRITICAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "warning",
        "loud=1",
        "warning=2",
        "warning=x",
        "warning=1,info=2",
        "warning=1,error=inf",
        "warning=nan",
        "info=1,warning=nan,critical=2",
        "warning=1,critical=1",
        "warning=1,warning=2",
    ],
)
def test_what_is_not_acceptable_is_refused(text: str) -> None:
    """Unknown levels, no level at 1, levels out of order, no numbers."""
    with pytest.raises(ValueError, match=r"."):
        CrowdAlertLevels.parse(text)


@given(people=st.integers(0, 10_000), threshold=st.integers(0, 10_000))
def test_there_is_a_level_exactly_when_the_threshold_is_exceeded(
    people: int, threshold: int
) -> None:
    """Whatever the numbers."""
    level = CrowdAlertLevels.parse("info=1,critical=4").of(people, threshold)
    assert (level is not None) == (people > threshold)
