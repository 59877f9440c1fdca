"""gRPC's statuses, with their details, as exceptions."""

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import (
    AnswerTimeoutError,
    DetectorError,
    FrameError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)
from crowd_detector._statuses import to_error
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

KINDS = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: UnauthenticatedError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: AnswerTimeoutError,
}


def refused(
    code: grpc.StatusCode, text: str = "", details: bytes | None = None
) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata()
    if details is not None:
        trailing.add("grpc-status-details-bin", details)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, text)


def packed(
    reason: str, retry_after: float | None = None, domain: str = "crowd.detector.v1"
) -> bytes:
    """Return details as the service packs them: with Google's own classes."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    if retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_after * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status.details.add().Pack(error_details_pb2.BadRequest())
    return bytes(status.SerializeToString())


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_is_an_exception_of_its_kind(code: grpc.StatusCode) -> None:
    """And one that has none of its own is a failure of the service; the address is in the sentence."""
    error = to_error(refused(code, "so it is"), "here:1")
    assert type(error) is KINDS.get(code, ServiceError)
    assert "here:1" in str(error)


@pytest.mark.parametrize("reason", pb.ErrorReason.keys()[1:])
def test_the_services_own_words_and_reasons_are_kept(reason: str) -> None:
    """Whatever the reason; only the reasons of a frame can be a frame's error."""
    reason = reason.removeprefix("ERROR_REASON_")
    status = refused(grpc.StatusCode.UNAVAILABLE, "its own words", packed(reason, 1.5))
    error = to_error(status, "here:1")
    assert (str(error), error.reason, error.retry_after) == ("its own words", reason, 1.5)
    assert type(error) is UnavailableError
    number = pb.ErrorReason.Value(f"ERROR_REASON_{reason}")
    of_frame = to_error(status, "here:1", of_frame=True)
    assert isinstance(of_frame, FrameError) == (number <= pb.ERROR_REASON_INFERENCE_FAILED)


def test_a_reason_of_a_newer_service_is_kept() -> None:
    """A name that this library does not know is a name all the same."""
    error = to_error(refused(grpc.StatusCode.UNAVAILABLE, "words", packed("TOO_HOT")), "here:1")
    assert error.reason == "TOO_HOT"


def test_a_reason_of_somebody_else_is_not_ours() -> None:
    """A proxy has reasons of its own."""
    details = packed("NO_UPSTREAM", domain="proxy.example")
    error = to_error(refused(grpc.StatusCode.UNAVAILABLE, "words", details), "here:1")
    assert error.reason == ""


@given(st.binary(max_size=200), st.sampled_from(list(grpc.StatusCode)))
def test_details_that_are_none_do_no_harm(details: bytes, code: grpc.StatusCode) -> None:
    """Whatever bytes they are."""
    assert isinstance(to_error(refused(code, "words", details), "here:1"), DetectorError)
