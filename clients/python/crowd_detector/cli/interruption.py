"""Ctrl-C and SIGTERM: heeded between two pieces of work, never in the middle of one."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType, TracebackType
from typing import Final, Self, TypeVar

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure

_CODES: Final = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}

_T = TypeVar("_T")


class Interruption:
    """While it is entered, a signal ends `waiting`; a second one ends the process at once.

    Writing a video or an image is not torn apart: the signal takes effect at the next wait.
    """

    def __init__(self) -> None:
        self._code: ExitCode | None = None
        self._waiting = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._on_signal) for each in _CODES}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type] # it is what signal() gave

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a signal end what is done here.

        Raises:
            Failure: a signal came, here or before.
        """
        self._waiting = True
        try:
            self._heed()
            yield
        finally:
            self._waiting = False

    def opening(self, call: Callable[[], _T]) -> _T:
        """Return what a call gives that heeds no signal; one ends the process, as nothing is written yet.

        The call is made here rather than in a thread that could be left behind: what FFmpeg does with its memory
        afterwards, where the thread that opened a video is gone, costs millions of page faults.

        Raises:
            Failure: a signal came before.
        """
        self._heed()
        told, tell = socket.socketpair()
        tell.setblocking(False)
        before = signal.set_wakeup_fd(tell.fileno())
        Thread(target=_end_on_signal, args=(told,), daemon=True).start()
        try:
            return call()
        finally:
            signal.set_wakeup_fd(before)
            tell.close()

    def over(self, items: Iterator[_T]) -> Iterator[_T]:
        """Give an iterator's items; a signal takes effect while the next is waited for.

        Raises:
            Failure: a signal came.
        """
        while True:
            with self.waiting():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        code = _CODES[signal.Signals(number)]
        if self._code is not None:
            os._exit(code)
        self._code = code
        if self._waiting:
            self._heed()

    def _heed(self) -> None:
        if self._code is not None:
            raise Failure("stopped", self._code)


def _end_on_signal(told: socket.socket) -> None:
    """End the process at the first signal that is told; return once none can be told any more."""
    with told:
        while number := told.recv(1):
            code = _CODES.get(signal.Signals(number[0]))
            if code is not None:
                print("detector: stopped", file=sys.stderr, flush=True)
                os._exit(code)
