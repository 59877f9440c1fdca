"""A flood of one error becomes a few lines and a number."""

import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, NamedTuple

from telemetry.records import own_record
from telemetry.repeats import Repeats

#: Fields whose values tell causes apart.
_CAUSES: Final = ("reason", "detector", "path", "call", "logger")
_MOST_CHARACTERS: Final = 200  # of a cause that is remembered

#: Lines of a flood that are written, and the seconds after each of which a line counts the others.
FIRST: Final = 3
SECONDS: Final = 10.0
_MOST_KEYS: Final = 256


class Cause(NamedTuple):
    """What makes records alike.

    Attributes:
        level: of the standard library.
        event: its name, or the text of a library's record before its arguments are filled in.
        fields: what tells causes apart.
    """

    level: int
    event: str
    fields: tuple[tuple[str, str], ...]


class Collapsing(logging.Handler):
    """Passes records on; of warnings and errors that are alike the first few, and then their number.

    Everything is written before a call returns, by the thread that logs: a process that crashes leaves its last words,
    and those of a flood are few. The number alone is written by a timer, which exists while something is withheld.
    """

    def __init__(
        self, targets: Sequence[logging.Handler], *, first: int = FIRST, seconds: float = SECONDS
    ) -> None:
        """Make it.

        Args:
            targets: take what is written.
            first: records of a flood that are passed on.
            seconds: after which the others are counted, again and again.
        """
        super().__init__()
        self._targets: Final = tuple(targets)
        self._seconds: Final = seconds
        self._repeats: Final[Repeats[Cause]] = Repeats(
            first=first, seconds=seconds, most=_MOST_KEYS
        )
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, or count it."""
        if record.levelno >= logging.WARNING:
            now = time.monotonic()
            self._tell(self._repeats.ended(now))
            if not self._repeats.admit(_cause(record), now):
                self._wait(now)
                return
        self._pass_on(record)

    def close(self) -> None:
        """Write the numbers that are not written yet; close the targets."""
        with self._guard():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._tell(self._repeats.close())
            for target in self._targets:
                target.close()
        super().close()

    def _wait(self, now: float) -> None:
        if self._timer is not None or (end := self._repeats.next_end()) is None:
            return
        timer = threading.Timer(max(end - now, 0.0), self._on_timer)
        timer.daemon = True
        with suppress(
            RuntimeError
        ):  # where there can be no more threads, the next record tells the number
            timer.start()
            self._timer = timer

    def _on_timer(self) -> None:
        with self._guard():
            if self._timer is None:
                return  # closed
            self._timer = None
            now = time.monotonic()
            self._tell(self._repeats.ended(now))
            self._wait(now)

    def _guard(self) -> threading.RLock:
        assert self.lock is not None
        return self.lock

    def _tell(self, withheld: Sequence[tuple[Cause, int]]) -> None:
        for cause, count in withheld:
            self._pass_on(
                own_record(
                    cause.level,
                    cause.event,
                    **dict(cause.fields),
                    repeated=count,
                    message=f"repeated {count} times in {self._seconds:g} s; the cause and the cure are in the first lines",
                )
            )

    def _pass_on(self, record: logging.LogRecord) -> None:
        for target in self._targets:
            target.handle(record)


def _cause(record: logging.LogRecord) -> Cause:
    if isinstance(record.msg, dict):  # one of structlog's
        event: dict[str, Any] = record.msg
        name, error = str(event.get("event")), event.get("exc_info")
    else:
        event = {"logger": record.name}
        name, error = str(record.msg), record.exc_info
    fields: list[tuple[str, str]] = [
        (field, _short(event[field])) for field in _CAUSES if field in event
    ]
    raised = _raised(error)
    if raised is not None:
        fields += [("error", type(raised).__name__), ("at", _place(raised.__traceback__))]
    return Cause(record.levelno, name[:_MOST_CHARACTERS], tuple(fields))


def _short(value: object) -> str:
    return str(value)[:_MOST_CHARACTERS] if isinstance(value, str | int | PurePath) else ""


def _raised(error: object) -> BaseException | None:
    """Return the exception that an event was logged with; it may be given as logging's `exc_info` is."""
    if isinstance(error, BaseException):
        return error
    if isinstance(error, tuple):
        return error[1] if isinstance(error[1], BaseException) else None
    return sys.exception() if error else None


def _place(trace: TracebackType | None) -> str:
    """Return where an exception was raised."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
