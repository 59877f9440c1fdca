"""One camera's frames in, their answers out, over as many connections as it takes."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from crowd.detector.v1 import detector_pb2 as pb

from crowd_detector._conversation import Conversation
from crowd_detector._flow import Flow
from crowd_detector._sources import AsyncSource, Frames, ThreadedSource, open_source
from crowd_detector._times import to_duration
from crowd_detector.errors import FrameError
from crowd_detector.frames import DetectionSettings, settings_message
from crowd_detector.results import Result, StreamSummary

__all__ = ["AsyncStream"]


class AsyncStream:
    """The answers of one stream, in the order of its frames; made by `AsyncDetectorClient.stream`.

    Iterating gives a `Result` or a `FrameError` for each frame that was not dropped. To leave early, use it
    in ``async with``, or call `aclose`: what is under way is given up.

    Example:
        >>> async def main():
        ...     async with AsyncDetectorClient(address) as client:
        ...         async with client.stream(["models/astronaut.jpg"]) as stream:
        ...             async for result in stream:
        ...                 print(result.crowd.level.value)
        >>> asyncio.run(main())
        low
    """

    def __init__(
        self,
        frames: Frames,
        flow: Flow,
        config: pb.StreamConfig,
        converse: Callable[[Callable[[Result | FrameError], None]], Conversation],
    ) -> None:
        self._frames: Final = frames
        self._flow: Final = flow
        self._config: Final = config
        self._converse: Final = converse
        self._conversation: Conversation | None = None
        self._running: asyncio.Task[None] | None = None
        self._answers: Final[deque[Result | FrameError]] = deque()
        self._arrived: Final = asyncio.Event()
        self._over = False
        self._failure: Exception | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def summary(self) -> StreamSummary:
        """What became of the frames so far.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         stream = client.stream(["models/astronaut.jpg"])
            ...         results = [result async for result in stream]
            ...         return stream.summary
            >>> asyncio.run(main()).results
            1
        """
        return self._flow.summary()

    def configure(
        self,
        *,
        settings: DetectionSettings | None = None,
        max_frame_rate: float | None = None,
        priority: int | None = None,
        max_age: float | None = None,
    ) -> None:
        """Change what applies to the frames that are sent from now on, after reconnections too.

        Args:
            settings: those that are None in it are the service's own again; None changes nothing.
            max_frame_rate: frames a second; 0 means no limit of ours; None changes nothing.
            priority: the stream's share of the service; 0 means 10; None changes nothing.
            max_age: seconds; 0 means that answers come however late; None changes nothing.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         async with client.stream(["models/astronaut.jpg"]) as stream:
            ...             stream.configure(settings=DetectionSettings(confidence_threshold=1.0))
            ...             return await anext(stream)
            >>> asyncio.run(main()).crowd.total_people
            0
        """
        if settings is not None:
            self._config.settings.CopyFrom(settings_message(settings))
        if max_frame_rate is not None:
            self._config.max_frame_rate = max_frame_rate
        if priority is not None:
            self._config.priority = priority
        if max_age is not None:
            self._config.ClearField("max_age")
            if max_age:
                self._config.max_age.CopyFrom(to_duration(max_age))
        if self._conversation is not None:
            self._conversation.tell_config()

    async def aclose(self) -> None:
        """Give up what is under way, and let go of the frames' source; may be called twice.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         stream = client.stream(["models/astronaut.jpg"] * 100)
            ...         first = await anext(stream)
            ...         await stream.aclose()
            ...         return first.sequence
            >>> asyncio.run(main())
            1
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="crowd-detector-close")
        await asyncio.shield(self._closing)  # who gives up waiting for it does not stop it half-way

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result | FrameError:
        if self._running is None and not self._over:
            self._running = asyncio.create_task(self._run(), name="crowd-detector-stream")
        while not self._answers:
            if self._over:
                failure, self._failure = self._failure, None
                raise failure or StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        answer = self._answers.popleft()
        self._flow.taken()
        if self._conversation is not None:
            self._conversation.wake()
        return answer

    async def _close(self) -> None:
        self._over = True
        self._arrived.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        self._answers.clear()
        self._failure = None

    async def _run(self) -> None:
        """Have frames read and answered; what goes wrong is raised where the answers are taken."""
        try:
            await self._feed_and_converse()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failure = RuntimeError("the source of frames was cancelled")
        except Exception as error:  # noqa: BLE001 - see above
            self._failure = error
        finally:
            self._over = True
            self._arrived.set()

    async def _feed_and_converse(self) -> None:
        """Read the source on one side, talk to the service on the other."""
        conversation = self._conversation = self._converse(self._deliver)
        source = open_source(self._frames)
        feeding = asyncio.create_task(self._feed(source, conversation), name="crowd-detector-feed")
        try:
            await conversation.run()
            await feeding  # what the source raised, if it did
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            with suppress(Exception):  # the source is done with, whatever it says to that
                await source.aclose()

    async def _feed(self, source: AsyncSource | ThreadedSource, conversation: Conversation) -> None:
        try:
            async for frame in source:
                self._flow.offer(frame)
                del frame  # or it would be kept here while the next is waited for
                conversation.wake()
                await asyncio.sleep(
                    0
                )  # an iterable that never waits must not keep the others waiting
                while not self._flow.has_room:
                    conversation.has_room.clear()
                    await conversation.has_room.wait()
        finally:
            self._flow.end()
            conversation.wake()

    def _deliver(self, answer: Result | FrameError) -> None:
        self._answers.append(answer)
        self._arrived.set()
