"""How often a connection's messages are let through."""

from enum import Enum
from typing import Final

#: A burst of refusals is over when there was none for so long.
BURST_ENDS_SECONDS: Final = 1.0
#: How much too early a frame may come, in intervals; the detector's own tolerance is a half.
_TOLERANCE: Final = 0.4


class Verdict(Enum):
    """What becomes of a message."""

    ADMITTED = "let through"
    FIRST_REFUSED = "the first refused of a burst"
    REFUSED = "refused like those before it"


class TokenBucket:
    """Lets through so many messages a second on average, and so many at once after a pause.

    Tokens come at the rate, and no more than the burst are kept; a message takes one (the token bucket of
    RFC 2697, with one colour).
    """

    def __init__(self, rate: float, burst: int) -> None:
        """Make a full bucket.

        Args:
            rate: messages a second; 0 means no limit.
            burst: messages at once, at least 1.
        """
        self._rate: Final = rate
        self._burst: Final = burst
        self._tokens = float(burst)
        self._filled = 0.0
        self._refused = float("-inf")

    def admit(self, now: float) -> Verdict:
        """Return what becomes of a message that comes now.

        Args:
            now: seconds, by a clock that never goes back.
        """
        if not self._rate:
            return Verdict.ADMITTED
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return Verdict.ADMITTED
        first = now - self._refused > BURST_ENDS_SECONDS
        self._refused = now
        return Verdict.FIRST_REFUSED if first else Verdict.REFUSED


class Pace:
    """Lets through at most so many frames a second, evenly spaced, as the detector does with the configured rate.

    It is the detector's own meter (the generic cell rate algorithm, ITU-T I.371, annex A), a little stricter: what is
    let through here is not dropped there, though frames come closer together or further apart on the way. A
    frame that the detector drops for its rate would stay unanswered until the next one is due.
    """

    def __init__(self) -> None:
        """Make one without a limit."""
        self._interval = 0.0
        self._slot = float("-inf")  # the even time of the last frame let through

    def change(self, frames_per_second: float) -> None:
        """Change the rate.

        Args:
            frames_per_second: 0 means no limit.
        """
        self._interval = 1 / frames_per_second if frames_per_second else 0.0

    def admit(self, now: float) -> bool:
        """Return whether a frame that comes now is let through.

        Args:
            now: seconds, by a clock that never goes back.
        """
        if now < self._slot + (1 - _TOLERANCE) * self._interval:
            return False
        self._slot = max(self._slot + self._interval, now)
        return True
