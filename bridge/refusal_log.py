"""What the log says of connections that were refused: the first at once, the others by number."""

import asyncio
from typing import Final

import structlog

_log = structlog.get_logger()

#: Seconds between two lines for the same reason.
INTERVAL_SECONDS: Final = 10.0


class RefusalLog:
    """Writes a line for the first refusal, and then, for as long as there are more, one an interval that counts them."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        """Make it.

        Args:
            interval: seconds between two lines for the same reason.
        """
        self._interval: Final = interval
        self._timers: Final[dict[str, asyncio.TimerHandle]] = {}
        self._untold: Final[dict[str, int]] = {}  # of the reasons that have a timer

    def add(self, reason: str, message: str) -> None:
        """Count a refusal.

        Args:
            reason: one of a few.
            message: for people, of the first one.
        """
        if reason in self._timers:
            self._untold[reason] += 1
            return
        _log.warning("connection.refused", reason=reason, message=message)
        self._wait(reason)

    def close(self) -> None:
        """Write what is not written yet."""
        for reason, timer in self._timers.items():
            timer.cancel()
            self._write(reason)
        self._timers.clear()

    def _wait(self, reason: str) -> None:
        self._untold[reason] = 0
        loop = asyncio.get_running_loop()
        self._timers[reason] = loop.call_later(self._interval, self._interval_over, reason)

    def _interval_over(self, reason: str) -> None:
        del self._timers[reason]
        if self._write(reason):
            self._wait(reason)

    def _write(self, reason: str) -> int:
        """Write how many were refused since the line before; return it."""
        count = self._untold.pop(reason)
        if count:
            _log.warning("connections.refused", reason=reason, count=count, seconds=self._interval)
        return count
