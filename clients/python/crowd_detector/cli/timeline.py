"""The times of a video's pictures: from the first one on, always rising."""

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Final

_MILLISECOND: Final = Fraction(1, 1000)
_JUMP_SECONDS: Final = 1  # back; less is pictures that come in the wrong order


class Timeline:
    """Gives the pictures of one video their times."""

    def __init__(self, *, by_clock: bool, now: Callable[[], float] = time.monotonic) -> None:
        """Begin one.

        Args:
            by_clock: whether a picture's time is when it was read, there being no other.
            now: the clock.
        """
        self._by_clock: Final = by_clock
        self._now: Final = now
        self._begin: int | None = None
        self._last = -1
        self._step = 1

    def place(self, pts: int | None, time_base: Fraction | None) -> tuple[int, Fraction]:
        """Return when a picture is shown, and in which unit; one without a time follows the last."""
        base = _MILLISECOND if self._by_clock or time_base is None else time_base
        if self._by_clock:
            pts = round(self._now() / base)
        if self._begin is None:
            self._begin = pts or 0
        placed = self._last + 1 if pts is None else pts - self._begin
        if placed < self._last - _JUMP_SECONDS / base:  # two videos in one, a camera that restarted
            self._begin += placed - (self._last + self._step)
            placed = self._last + self._step
        placed = max(placed, self._last + 1)
        self._step, self._last = placed - self._last, placed
        return placed, base
