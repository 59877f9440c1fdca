"""gRPC's statuses, with their details, as exceptions of ours."""

from collections.abc import Iterable
from typing import Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError

from crowd_detector import _borrowed
from crowd_detector._times import to_seconds
from crowd_detector.errors import (
    AnswerTimeoutError,
    DetectorError,
    FrameError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)

_DOMAIN: Final = "crowd.detector.v1"
#: The reasons that a single frame can be refused for.
_FRAME_REASONS: Final = frozenset(
    name.removeprefix("ERROR_REASON_")
    for name, number in pb.ErrorReason.items()
    if pb.ERROR_REASON_UNSPECIFIED < number <= pb.ERROR_REASON_INFERENCE_FAILED
)

_ERRORS: Final[dict[grpc.StatusCode, type[DetectorError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: UnauthenticatedError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: AnswerTimeoutError,
}

#: What gRPC's core says where a connection cannot be made, and what that means.
_NO_CONNECTION: Final = (
    ("Connection refused", "nothing listens there; is the service running, and the port right?"),
    ("lookup", "its name is not known; is it spelt right?"),
    ("errors resolving", "that is no host:port"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; connect without"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not from an authority that is trusted here; give that authority's file",
    ),
    ("Hostname Verification", "its certificate is for another name; connect by that name"),
    ("security handshaker", "the TLS files cannot be used; are they PEM certificates and keys?"),
    ("Expected SETTINGS", "what listens there is no gRPC service; is it the right port?"),
    ("No route to host", "there is no way to that host from here"),
    ("Network is unreachable", "there is no way to that host from here"),
    # A connection that was made, and lost before anything was said.
    (
        "last error: UNAVAILABLE",
        "it closes the connection; does it ask for TLS, or for a client's certificate?",
    ),
    ("Socket closed", "the connection was lost"),
    ("Connection reset", "the connection was lost"),
)


def to_error(error: grpc.aio.AioRpcError, address: str, *, of_frame: bool = False) -> DetectorError:
    """Return a failed call as an exception.

    Args:
        error: as gRPC raised it.
        address: of the service, for the sentence.
        of_frame: whether the call was about one frame alone, so that a refusal of the frame ends it.
    """
    reason, retry_after = _details(error.trailing_metadata() or ())
    code, text = error.code(), error.details() or error.code().name
    if of_frame and reason in _FRAME_REASONS:
        return FrameError(text, reason=reason)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return InvalidRequestError(
            f"an image is larger than {address} takes in a message (its MAX_MESSAGE_BYTES): {text}"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"no answer from {address} in time; is it overloaded, or is what listens there another service?"
    elif code == grpc.StatusCode.UNAVAILABLE and not reason:
        text = f"no connection to {address}: {_cause(text)}"
    elif not reason:
        text = f"{address}: {text}"
    return _ERRORS.get(code, ServiceError)(text, reason=reason, retry_after=retry_after)


def _cause(text: str) -> str:
    return next((meaning for sign, meaning in _NO_CONNECTION if sign in text), text)


def _details(trailing: Iterable[tuple[str, str | bytes]]) -> tuple[str, float | None]:
    """Return the reason and the time to try again that a status carries, as far as it does."""
    packed = dict(trailing).get("grpc-status-details-bin")
    reason, retry_after = "", None
    try:
        status = _borrowed.Status.FromString(packed or b"")
        for detail in status.details:
            match detail.type_url.rpartition("/")[2]:
                case "google.rpc.ErrorInfo":
                    info = _borrowed.ErrorInfo.FromString(detail.value)
                    reason = info.reason if info.domain == _DOMAIN else ""
                case "google.rpc.RetryInfo":
                    retry = _borrowed.RetryInfo.FromString(detail.value)
                    retry_after = to_seconds(retry.retry_delay)
    except DecodeError:  # a proxy's, not the service's
        return "", None
    return reason, retry_after
