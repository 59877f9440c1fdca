"""What can go wrong, as one small tree.

::

    DetectorError
    ├── UnavailableError       no service answers there, or it is starting or going down
    ├── OverloadedError        the service has all that it can do, or one of its limits is reached
    ├── UnauthenticatedError   no token, or one that the service does not know
    ├── InvalidRequestError    the service does not accept what was asked
    ├── AnswerTimeoutError     no answer in time (a TimeoutError too)
    ├── FrameError             one frame could not be answered; others were not harmed
    └── ServiceError           the service failed, or cannot do this

Each carries the service's own ``reason``; docs/errors.md lists them all.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowd_detector.frames import Frame
    from crowd_detector.results import DropReason

__all__ = [
    "AnswerTimeoutError",
    "DetectorError",
    "FrameError",
    "InvalidRequestError",
    "OverloadedError",
    "ServiceError",
    "UnauthenticatedError",
    "UnavailableError",
]


class DetectorError(Exception):
    """Everything that this library raises by itself.

    ``str()`` of it is one sentence for people.

    Attributes:
        reason: for programs, as in docs/errors.md: ``"TOO_MANY_STREAMS"``; empty where the error did
            not come from the service.
        retry_after: seconds after which another try may go better, where the service said so.

    Example:
        >>> str(DetectorError("no more room", reason="OVERLOADED", retry_after=1.5))
        'no more room'
    """

    def __init__(self, message: str, *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class UnavailableError(DetectorError):
    """No service answers there (``reason`` is empty), or it is starting or going down.

    Example:
        >>> issubclass(UnavailableError, DetectorError)
        True
    """


class OverloadedError(DetectorError):
    """The service has all that it can do, or one of its limits is reached.

    Example:
        >>> OverloadedError("256 streams are open", retry_after=5.0).retry_after
        5.0
    """


class UnauthenticatedError(DetectorError):
    """No token, or one that the service does not know.

    Example:
        >>> UnauthenticatedError("no token", reason="UNAUTHENTICATED").reason
        'UNAUTHENTICATED'
    """


class InvalidRequestError(DetectorError):
    """The service does not accept what was asked: a setting out of range, a name too long.

    Example:
        >>> issubclass(InvalidRequestError, DetectorError)
        True
    """


class AnswerTimeoutError(DetectorError, TimeoutError):
    """No answer came in time.

    Example:
        >>> issubclass(AnswerTimeoutError, TimeoutError)
        True
    """


class ServiceError(DetectorError):
    """The service failed, or cannot do this; its log, or its version, says more.

    Example:
        >>> issubclass(ServiceError, DetectorError)
        True
    """


class FrameError(DetectorError):
    """One frame could not be answered with a result.

    ``detect`` raises it; ``detect_batch`` and ``stream`` give it in the place of a result, because one
    bad frame says nothing of the others.

    Attributes:
        frame: the frame as it was given to ``stream`` or ``detect_batch``; None from ``detect``.
        frame_id: the frame's own.
        camera: the frame's own, or the stream's.
        sequence: the frame's number in its call, from 1.
        capture_time: the frame's own.
        details: more for developers, where the service runs with DEBUG.
        dropped: frames of the stream that were dropped since the answer before, by reason.

    Example:
        >>> error = FrameError("the image ends before its end", reason="TRUNCATED_IMAGE")
        >>> error.reason
        'TRUNCATED_IMAGE'
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        frame: "Frame | None" = None,
        frame_id: str = "",
        camera: str = "",
        sequence: int = 0,
        capture_time: datetime | None = None,
        details: str = "",
        dropped: "Mapping[DropReason, int] | None" = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.frame = frame
        self.frame_id = frame_id
        self.camera = camera
        self.sequence = sequence
        self.capture_time = capture_time
        self.details = details
        self.dropped = dropped or {}
