"""Where a stream's frames come from: an iterable of either kind, as an asynchronous iterator."""

import asyncio
import os
import queue
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import suppress
from typing import Any, Final, TypeAlias

from crowd_detector.frames import Frame, ImageSource, to_frame

Frames: TypeAlias = Iterable[ImageSource] | AsyncIterable[ImageSource]

#: How long closing waits for an iterable that is in the middle of giving its next frame.
_LEAVE_SECONDS: Final = 1.0


def open_source(frames: Frames) -> "ThreadedSource | AsyncSource":
    """Return a source that gives Frames, whatever the iterable gives.

    Raises:
        TypeError: a path or the bytes of one image, which could be iterated too, but for letters and numbers.
    """
    if isinstance(frames, str | bytes | os.PathLike):
        raise TypeError("one image is no stream of images; give a list of images, or call detect")
    if isinstance(frames, AsyncIterable):
        return AsyncSource(frames)
    return ThreadedSource(frames)


class AsyncSource:
    """An asynchronous iterable; files that it names are read in a thread."""

    def __init__(self, frames: AsyncIterable[ImageSource]) -> None:
        self._images: Final[AsyncIterator[ImageSource]] = aiter(frames)

    def __aiter__(self) -> "AsyncSource":
        return self

    async def __anext__(self) -> Frame:
        try:
            image = await anext(self._images)
        except SystemExit as error:  # it would end the event loop, and with it everybody else
            raise _ended_with(error) from error
        if isinstance(image, str | os.PathLike):
            return await asyncio.to_thread(to_frame, image)
        return to_frame(image)

    async def aclose(self) -> None:
        """Close the iterator if it is a generator."""
        if isinstance(self._images, AsyncGenerator):
            await self._images.aclose()


class ThreadedSource:
    """An ordinary iterable, which may block: it is asked for each frame in a thread of its own.

    The thread is a daemon: one that waits for a camera that gives nothing does not keep the process alive.
    """

    def __init__(self, frames: Iterable[ImageSource]) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._asked: Final[queue.SimpleQueue[asyncio.Future[Frame] | None]] = queue.SimpleQueue()
        self._left: Final[asyncio.Future[None]] = self._loop.create_future()
        threading.Thread(
            target=self._run, args=(frames,), name="crowd-detector-frames", daemon=True
        ).start()

    def __aiter__(self) -> "ThreadedSource":
        return self

    async def __anext__(self) -> Frame:
        future: asyncio.Future[Frame] = self._loop.create_future()
        self._asked.put(future)
        return await future

    async def aclose(self) -> None:
        """Have the thread leave, and close the iterator if it is a generator."""
        self._asked.put(None)
        await asyncio.wait({self._left}, timeout=_LEAVE_SECONDS)

    def _run(self, frames: Iterable[ImageSource]) -> None:
        images: Iterator[ImageSource] | None = None
        while (future := self._asked.get()) is not None:
            try:
                if images is None:
                    images = iter(frames)
                answer: Frame | Exception = to_frame(next(images))
            except StopIteration:
                answer = StopAsyncIteration()
            except Exception as error:  # noqa: BLE001 - whatever the caller's iterable raises is the caller's
                answer = error
            except BaseException as error:  # noqa: BLE001 - nobody else would hear of it
                answer = _ended_with(error)
            self._tell(future, answer)
            del future, answer  # or a frame would be kept here while the next is waited for
        if isinstance(images, Generator):
            with suppress(Exception):
                images.close()
        self._tell(self._left, None)

    def _tell(self, future: "asyncio.Future[Any]", answer: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, future, answer)


def _ended_with(error: BaseException) -> RuntimeError:
    ended = RuntimeError(f"the source of frames ended with {type(error).__name__}")
    ended.__cause__ = error
    return ended


def _settle(future: "asyncio.Future[Any]", answer: object) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
