"""An event loop in a thread, for callers who have none."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

_T = TypeVar("_T")


class Portal:
    """Runs coroutines in a thread of its own; started by the first, ended by `close`."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0
        self.is_closed = False

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Return what a coroutine returns; where the caller is interrupted, the coroutine is cancelled.

        Raises:
            RuntimeError: the portal is closed, this is its own thread, or another process.
        """
        try:
            with self._lock:
                future = asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the client was closed") from None
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """End the loop and its thread, once `last` is done; may be called twice.

        What runs there still is cancelled.
        """
        with self._lock:
            first, self.is_closed = not self.is_closed, True
            loop, thread = self._loop, self._thread
            if first and loop is not None:
                asyncio.run_coroutine_threadsafe(_stop_after(last), loop)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self.is_closed:
            raise RuntimeError("the client is closed")
        if self._loop is None:
            self._loop, self._process = asyncio.new_event_loop(), os.getpid()
            self._thread = threading.Thread(
                target=_run, args=(self._loop,), name="crowd-detector", daemon=True
            )
            self._thread.start()
        elif self._thread is threading.current_thread():
            raise RuntimeError("this would wait for itself: it was called from within a callback")
        elif self._process != os.getpid():
            raise RuntimeError("the client was made before a fork; make one in each process")
        return self._loop


async def _stop_after(last: Callable[[], Awaitable[None]]) -> None:
    try:
        await last()
    finally:
        asyncio.get_running_loop().stop()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and then end it.

    As `asyncio.run` does, but for waiting until the default executor's threads are done, one of which may
    be reading a file that gives nothing.
    """
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
