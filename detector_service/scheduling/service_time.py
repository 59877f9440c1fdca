"""How long a frame keeps a worker busy, foreseen from those before it."""

from typing import Final

#: How much the newest frame counts: the gain of the smoothed round-trip time (RFC 6298, section 2).
_GAIN: Final = 1 / 8
#: How much of a mean is given up with each doubt.
_DOUBT: Final = 1 / 8


class ServiceTime:
    """A moving mean: the newest frame counts an eighth, or what is said; those before it fade."""

    __slots__ = ("_gain", "known", "mean")

    def __init__(self, gain: float = _GAIN) -> None:
        """Make it.

        Args:
            gain: how much the newest frame counts, in (0, 1].
        """
        self._gain: Final = gain
        #: Seconds; 0 before the first frame.
        self.mean = 0.0
        #: Whether there was a frame.
        self.known = False

    def add(self, seconds: float) -> None:
        """Count a frame."""
        self.mean += (seconds - self.mean) * (self._gain if self.known else 1)
        self.known = True

    def doubt(self) -> None:
        """Believe the mean a little less, after work was refused because of it.

        What is not begun is not measured: a mean that one bad moment drove up would go on refusing for
        ever. Lowered each time, it soon lets a frame through that shows how things are now.
        """
        self.mean *= 1 - _DOUBT
