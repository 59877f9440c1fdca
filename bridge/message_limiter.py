"""Which of a connection's messages are looked at, by how often they come; no I/O, no clock."""

from typing import Final

from bridge import protocols
from bridge.errors import ErrorCode, Refused
from bridge.rate_limit import Bursts, TokenBucket
from bridge.settings import Settings

#: Messages a second, and at once, that are no frames: enough for a page whose user drags a slider. Each may cost
#: a call to every detector.
_EVENT_RATE: Final = 20.0
_EVENT_BURST: Final = 40


class MessageLimiter:
    """Lets frames through at MAX_FRAME_RATE, and what else there is at a rate of its own."""

    def __init__(self, protocol: protocols.WireProtocol, settings: Settings) -> None:
        """Make it.

        Args:
            protocol: reads the messages.
            settings: the frames' rate.
        """
        self._protocol: Final = protocol
        self._frame_rate: Final = settings.max_frame_rate
        self._frames: Final = TokenBucket(settings.max_frame_rate, settings.max_frame_burst)
        self._too_soon: Final = Bursts()
        self._events: Final = TokenBucket(_EVENT_RATE, _EVENT_BURST)

    def decode(self, message: str | bytes, now: float) -> protocols.Incoming | None:
        """Read a message that is let through; None: it is a frame that is not, and not read either.

        Args:
            message: as it came.
            now: seconds, by a clock that never goes back.

        Raises:
            Refused: the message is not acceptable; or RATE_LIMITED, of what is no frame. Each of those is told, for
                their senders wait to hear of each.
        """
        if self._frames.admit(now):
            request = self._protocol.decode(message)
            if not isinstance(request, protocols.IncomingFrame):
                self._frames.give_back()
                self._admit_event(now)
            return request
        if self._protocol.is_frame(message):
            return None
        self._admit_event(now)
        return self._protocol.decode(message)

    def check_burst(self, now: float) -> None:
        """Note that a frame was not let through.

        Raises:
            Refused: RATE_LIMITED, for the first of a burst.
        """
        if self._too_soon.begins(now):
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"more than {self._frame_rate:g} frames a second came on this connection, "
                "and are passed over; send fewer, or raise MAX_FRAME_RATE",
            )

    def _admit_event(self, now: float) -> None:
        if not self._events.admit(now):
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"more than {_EVENT_RATE:g} messages a second that are no frames came on this connection, "
                "and this one is not acted on; send it again in a second",
            )
