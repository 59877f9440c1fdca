"""Which unary calls are taken on, and when the others are told to come again."""

import grpc
import pytest

from detector_service.rpc.admission import Admission, TooLate
from detector_service.rpc.status import CallRefused


def test_places_are_given_back() -> None:
    """However the call ends."""
    admission = Admission(max_frames=2, max_bytes=100)
    with pytest.raises(ZeroDivisionError), admission.admitted(2, 100, wait=1.0, remaining=None):
        assert (admission.frames, admission.bytes) == (2, 100)
        raise ZeroDivisionError
    assert (admission.frames, admission.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("frames", "size", "named"), [(2, 1, "MAX_QUEUED_FRAMES"), (1, 61, "MAX_BUFFERED_BYTES")]
)
def test_more_than_may_wait_is_refused(frames: int, size: int, named: str) -> None:
    """Of images, and of bytes; the caller is told to come once what waits is done."""
    admission = Admission(max_frames=2, max_bytes=100)
    with (
        admission.admitted(1, 40, wait=0.0, remaining=None),
        pytest.raises(CallRefused, match=named) as refused,
        admission.admitted(frames, size, wait=4.5, remaining=None),
    ):
        pass
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.retry_after == 4.5
    assert (admission.frames, admission.bytes) == (0, 0)


def test_what_would_be_too_late_is_refused() -> None:
    """The caller is told to come when it would be in time."""
    admission = Admission(max_frames=2, max_bytes=100)
    with (
        pytest.raises(TooLate, match=r"would take about 3 s.*comes in 1 s") as refused,
        admission.admitted(1, 1, wait=3.0, remaining=1.0),
    ):
        pass
    assert refused.value.retry_after == 2.0
    with admission.admitted(1, 1, wait=3.0, remaining=3.0):
        pass


@pytest.mark.parametrize(("wait", "told"), [(0.0, 0.1), (1e6, 60.0)])
def test_nobody_is_told_to_come_at_once_or_never(wait: float, told: float) -> None:
    """Whatever was computed."""
    admission = Admission(max_frames=0, max_bytes=0)
    with (
        pytest.raises(CallRefused) as refused,
        admission.admitted(1, 1, wait=wait, remaining=None),
    ):
        pass
    assert refused.value.retry_after == told
