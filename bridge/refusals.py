"""Refusals as events."""

from msgspec import UNSET

from bridge import events
from bridge.errors import Refused


def error_event(
    refused: Refused,
    about: events.FrameEcho | None = None,
    drops: dict[str, int] | None = None,
) -> events.Error:
    """Return an error event.

    Args:
        refused: why.
        about: which message is at fault.
        drops: to be told with it.
    """
    return events.Error(
        events.ErrorData(
            code=refused.code,
            message=str(refused),
            details=refused.details,
            frame=UNSET if about is None else about,
            drops=drops or UNSET,
        )
    )


def echo(sequence: int, timestamp: events.Number | None = None) -> events.FrameEcho:
    """Return which message is at fault.

    Args:
        sequence: its number on the connection.
        timestamp: as the client sent it.
    """
    return events.FrameEcho(sequence=sequence, timestamp=UNSET if timestamp is None else timestamp)
