"""What can go wrong, as one small tree, and the codes that a browser sees.

::

    BridgeError
    ├── ConfigurationError   a setting is not acceptable: exit code 2
    └── Refused              a client's message or connection gets an error event for an answer
"""

from enum import StrEnum
from typing import Final

from telemetry.trace_context import TraceContext

_NO_CONTEXT: Final = TraceContext()


class ErrorCode(StrEnum):
    """`code` of an error event; docs/bridge.md says when each is given, and what becomes of the connection."""

    PROCESSING_ERROR = "PROCESSING_ERROR"
    INVALID_MESSAGE = "INVALID_MESSAGE"
    UNKNOWN_EVENT = "UNKNOWN_EVENT"
    INVALID_FRAME = "INVALID_FRAME"
    UNSUPPORTED_IMAGE = "UNSUPPORTED_IMAGE"
    FRAME_TOO_LARGE = "FRAME_TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    CONNECTION_LIMIT = "CONNECTION_LIMIT"
    UNAUTHORIZED = "UNAUTHORIZED"
    DETECTOR_UNAVAILABLE = "DETECTOR_UNAVAILABLE"


class BridgeError(Exception):
    """Anything the bridge raises on purpose; its text names the cause and the cure."""


class ConfigurationError(BridgeError):
    """A setting has a value that is not acceptable."""


class Refused(BridgeError):  # noqa: N818 - it is no error of the bridge
    """A message or a connection that is answered with an error event.

    Attributes:
        code: why, for programs.
        details: more for developers.
        context: the span that a frame which is refused says it belongs to.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        details: str = "",
        *,
        context: TraceContext = _NO_CONTEXT,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.context = context
