"""When something was, for people: since the epoch, from a clock that only runs forward."""

import time
from typing import Final

_NANOS: Final = 1_000_000_000
_LASTS: Final = 10.0  # seconds until the two clocks are compared again, as the machine's may be set
_LOOKS: Final = 5


class WallClock:
    """What `time.perf_counter` says, as nanoseconds since the epoch.

    Processes of one machine agree to within some microseconds. If each took the time of day when it needs
    it, one that the kernel keeps waiting between two looks at a clock would be milliseconds off, and a frame would seem
    to arrive before it was sent.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._compare_at = float("-inf")

    def offset(self) -> int:
        """Return the nanoseconds to be added to those of `time.perf_counter`."""
        now = time.perf_counter()
        if now >= self._compare_at:
            # Of several looks the one that took least: the others may have been interrupted.
            self._offset = min(_look() for _ in range(_LOOKS))[1]
            self._compare_at = now + _LASTS
        return self._offset


def nanoseconds(at: float) -> int:
    """Return a time of `time.perf_counter` in nanoseconds."""
    return int(at * _NANOS)


def _look() -> tuple[int, int]:
    before = time.perf_counter_ns()
    wall = time.time_ns()
    after = time.perf_counter_ns()
    return after - before, wall - (before + after) // 2
