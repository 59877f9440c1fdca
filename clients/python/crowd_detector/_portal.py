"""An event loop in a thread, for callers who have none."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

_T = TypeVar("_T")


class Portal:
    """Runs coroutines in a thread of its own; started by the first, ended by `close`."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether a loop runs that was not closed."""
        return self._loop is not None and not self._closed

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Return what a coroutine returns; where the caller is interrupted, the coroutine is cancelled.

        Raises:
            RuntimeError: the portal is closed, or this is its own thread.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread, once what runs there has been cancelled; may be called twice."""
        with self._lock:
            self._closed = True
            thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        if loop.is_running():
            loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="crowd-detector", daemon=True
                )
                self._thread.start()
            elif self._thread is threading.current_thread():
                raise RuntimeError(
                    "this would wait for itself: it was called from within a callback"
                )
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        # As asyncio.run does, but for waiting on the default executor's threads, one of which may be
        # reading a slow file.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()
