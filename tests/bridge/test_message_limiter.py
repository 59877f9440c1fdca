"""Which messages are looked at."""

import json

import pytest

from bridge.errors import ErrorCode, Refused
from bridge.events import UnsubscribeAlerts
from bridge.message_limiter import MessageLimiter
from bridge.protocols import IncomingFrame, JsonProtocol
from bridge.settings import load_settings

FRAME = json.dumps({"event": "process_frame", "data": {"frame": "aW1hZ2U="}})
EVENT = json.dumps({"event": "unsubscribe_alerts"})


def limiter() -> MessageLimiter:
    """Return one that lets two frames through at once, and one a second."""
    return MessageLimiter(
        JsonProtocol(), load_settings(_env_file=None, max_frame_rate=1, max_frame_burst=2)
    )


def test_frames_over_the_rate_are_not_read() -> None:
    """The first of a burst is refused in so many words; those after it are passed over."""
    limited = limiter()
    frames = [limited.decode(FRAME, 0.0) for _ in range(4)]
    assert [isinstance(frame, IncomingFrame) for frame in frames] == [True, True, False, False]
    assert frames[2:] == [None, None]
    with pytest.raises(Refused, match="MAX_FRAME_RATE") as refused:
        limited.check_burst(0.0)
    assert refused.value.code is ErrorCode.RATE_LIMITED
    limited.check_burst(0.5)
    assert limited.decode(FRAME, 1.5) is not None


def test_what_is_no_frame_has_a_rate_of_its_own() -> None:
    """It costs the frames nothing, nor they it."""
    limited = limiter()
    events = [limited.decode(EVENT, 0.0) for _ in range(40)]
    assert all(isinstance(event, UnsubscribeAlerts) for event in events)
    with pytest.raises(Refused, match="no frames came"):
        limited.decode(EVENT, 0.0)
    assert limited.decode(FRAME, 0.0) is not None
    assert limited.decode(EVENT, 1.0) is not None
