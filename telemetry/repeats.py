"""Which of many events that are alike are written, and how many were not."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Window:
    """A time in which events of one key are counted.

    Attributes:
        ends: when, in seconds.
        more: how many may still be written.
        withheld: how many were not.
    """

    ends: float
    more: int
    withheld: int = 0


class Repeats(Generic[Key]):
    """Lets the first few events of a key through, and counts the others, window by window.

    A window that withheld some is followed by one that withholds all; so as long as a flood lasts, all that is
    written of it is its first few events, and a number for each window. Pure: it is told the time.
    """

    def __init__(self, *, first: int, seconds: float, most: int) -> None:
        """Make it.

        Args:
            first: events of a key that are let through.
            seconds: that a window lasts.
            most: keys that are remembered; where there is one more, the oldest window ends at once.
        """
        self._first: Final = first
        self._seconds: Final = seconds
        self._most: Final = most
        self._windows: Final[dict[Key, _Window]] = {}  # the first to end comes first
        self._untold: Final[list[tuple[Key, int]]] = []  # of windows that ended before their time

    def admit(self, key: Key, now: float) -> bool:
        """Return whether an event is to be written; otherwise it is counted.

        Args:
            key: what makes it like others.
            now: in seconds; `ended` has been called with it.
        """
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._most:
                self._end(next(iter(self._windows)))
            window = self._windows[key] = _Window(now + self._seconds, self._first)
        if window.more:
            window.more -= 1
            return True
        window.withheld += 1
        return False

    def ended(self, now: float) -> list[tuple[Key, int]]:
        """Return the keys whose windows are over, with how many events each withheld; none that withheld none."""
        for key, window in list(self._windows.items()):
            if window.ends > now:
                break
            self._end(key)
            if window.withheld:
                self._windows[key] = _Window(now + self._seconds, 0)
        return self._told()

    def close(self) -> list[tuple[Key, int]]:
        """End all windows; return what was withheld."""
        for key in list(self._windows):
            self._end(key)
        return self._told()

    def next_end(self) -> float | None:
        """Return when there may be a number to write; None where nothing is withheld."""
        if not any(window.withheld for window in self._windows.values()):
            return None
        return next(iter(self._windows.values())).ends

    def _end(self, key: Key) -> None:
        window = self._windows.pop(key)
        if window.withheld:
            self._untold.append((key, window.withheld))

    def _told(self) -> list[tuple[Key, int]]:
        told = list(self._untold)
        self._untold.clear()
        return told
