"""The client for asyncio."""

import asyncio
import os
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc

from crowd_detector import _borrowed
from crowd_detector._backoff import Backoff
from crowd_detector._connection import Target, Tls
from crowd_detector._conversation import Conversation, Patience
from crowd_detector._flow import Flow, WhenFull
from crowd_detector._messages import to_frame_error, to_models, to_result, to_stats
from crowd_detector._metadata import Metadata, authorization, trace_context
from crowd_detector._sources import Frames
from crowd_detector._statuses import to_error
from crowd_detector._times import to_duration
from crowd_detector.async_stream import AsyncStream
from crowd_detector.errors import AnswerTimeoutError, DetectorError, FrameError, UnavailableError
from crowd_detector.frames import (
    DetectionSettings,
    ImageSource,
    frame_message,
    settings_message,
    to_frame,
)
from crowd_detector.results import Models, Result, Stats

__all__ = ["AsyncDetectorClient"]

#: The most that the contract lets a stream's buffer hold: of more in flight the service would drop some.
_MOST_IN_FLIGHT: Final = 32


class AsyncDetectorClient:
    """One connection to a detector; to be used in ``async with``.

    Nothing is connected before the first call, and a connection that is lost is made again by the next. Every
    method raises a `DetectorError`, and nothing else, where the service refuses, fails or cannot be reached.

    Example:
        >>> async def main():
        ...     async with AsyncDetectorClient(address) as client:
        ...         result = await client.detect("models/astronaut.jpg")
        ...         return result.crowd.face_count
        >>> asyncio.run(main()) >= 1
        True
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        token: str = "",
        tls: Tls | None = None,
        timeout: float = 30.0,
    ) -> None:
        """Make a client.

        Args:
            address: ``host:port``.
            token: a bearer token, where the service asks for one.
            tls: how to speak TLS; None for plain text.
            timeout: seconds that each call may take, unless it says otherwise; streams have their own.

        Raises:
            ValueError: the address, the token or a file that `tls` names is not what it should be.
            OSError: such a file cannot be read.
        """
        self._address: Final = address
        self._metadata: Final = authorization(token)
        self._timeout: Final = timeout
        self._target: Final = Target(address, tls)
        self._channel_: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._streams: Final[weakref.WeakSet[AsyncStream]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; streams and calls under way end. May be called twice.

        Example:
            >>> async def main():
            ...     client = AsyncDetectorClient(address)
            ...     try:
            ...         return await client.health()
            ...     finally:
            ...         await client.aclose()
            >>> asyncio.run(main())
            True
        """
        self._closed = True
        await asyncio.gather(*(stream.aclose() for stream in list(self._streams)))
        if self._channel_ is not None:
            await self._channel_.close()

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the service can be reached and has loaded its models.

        Args:
            timeout: seconds.

        Raises:
            AnswerTimeoutError: that took longer; the text says what was missing.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         await client.wait_until_ready()
            >>> asyncio.run(main())
        """
        backoff, missing = Backoff(), "nothing was heard of it"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        if await self.health():
                            return
                        missing = "it is up, and has not loaded its models"
                    except (UnavailableError, AnswerTimeoutError) as error:
                        missing = str(error)
                    await asyncio.sleep(backoff.next())
        except TimeoutError:
            raise AnswerTimeoutError(
                f"{self._address} was not ready in {timeout:g} s: {missing}"
            ) from None

    async def health(self) -> bool:
        """Return whether the service says that it serves; it does not while it loads or goes down.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         return await client.health()
            >>> asyncio.run(main())
            True
        """
        check = self._channel().unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=_borrowed.HealthCheckRequest.SerializeToString,
            response_deserializer=_borrowed.HealthCheckResponse.FromString,
        )
        response = await self._ask(check, _borrowed.HealthCheckRequest())
        return bool(response.status == _borrowed.SERVING)

    async def detect(
        self,
        image: ImageSource,
        *,
        settings: DetectionSettings | None = None,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> Result:
        """Look at one image.

        Args:
            image: the bytes of a JPEG, PNG or WebP file, its path, a `RawImage` or a `Frame`.
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            timeout: seconds; None: the client's.
            traceparent: the span that the service's own shall belong to, as W3C Trace Context writes it; a
                `Frame`'s own comes first.
            tracestate: likewise, what goes along with it.

        Raises:
            FrameError: the image cannot be looked at.
            DetectorError: the service refuses, fails or cannot be reached.
            OSError: the file cannot be read.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         return await client.detect("models/astronaut.jpg")
            >>> asyncio.run(main()).bodies[0].confidence > 0.5
            True
        """
        message = frame_message(await asyncio.to_thread(to_frame, image))
        if settings is not None:
            own = settings_message(settings)
            own.MergeFrom(message.settings)
            message.settings.CopyFrom(own)
        try:
            response = await self._ask(
                self._service().Detect,
                pb.DetectRequest(frame=message),
                timeout,
                of_frame=True,
                also=trace_context(traceparent, tracestate),
            )
        except FrameError as error:
            error.frame_id, error.camera = message.frame_id, message.camera
            raise
        return to_result(response.result)

    async def detect_batch(
        self,
        images: Iterable[ImageSource],
        *,
        settings: DetectionSettings | None = None,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> list[Result | FrameError]:
        """Look at several images in one call; all are held in memory.

        Args:
            images: as many as the service accepts in a call (32, unless its operator chose otherwise).
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            timeout: seconds; None: the client's.
            traceparent: the span that the service's own shall belong to, as W3C Trace Context writes it; a
                `Frame`'s own comes first.
            tracestate: likewise, what goes along with it.

        Returns:
            What became of each, in their order.

        Raises:
            DetectorError: the service refuses, fails or cannot be reached.
            OSError: a file cannot be read.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         return await client.detect_batch(["models/astronaut.jpg", b"no image"])
            >>> found, refused = asyncio.run(main())
            >>> found.crowd.level.value, refused.reason
            ('low', 'UNSUPPORTED_IMAGE')
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(
                "one image is no batch of images; give a list of images, or call detect"
            )
        frames = await asyncio.to_thread(lambda: [to_frame(image) for image in images])
        request = pb.BatchDetectRequest(
            frames=[frame_message(frame) for frame in frames], settings=settings_message(settings)
        )
        response = await self._ask(
            self._service().BatchDetect,
            request,
            timeout,
            also=trace_context(traceparent, tracestate),
        )
        return [
            to_result(outcome.result, frame)
            if outcome.HasField("result")
            else to_frame_error(outcome.error, frame)
            for outcome, frame in zip(response.outcomes, frames, strict=True)
        ]

    def stream(
        self,
        frames: Frames,
        *,
        camera: str = "",
        settings: DetectionSettings | None = None,
        max_frame_rate: float = 0.0,
        priority: int = 0,
        max_age: float | None = None,
        max_in_flight: int = 8,
        when_full: WhenFull | str = WhenFull.WAIT,
        answer_timeout: float = 30.0,
        reconnect_timeout: float | None = 60.0,
        on_reconnect: Callable[[DetectorError, float], None] | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> AsyncStream:
        """Send a camera's frames as they come, and get their answers in the same order.

        A connection that is lost is made again, with back-off and jitter, and told the settings again; so is
        one that the service refuses for now. A service that cannot be reached at the very first is an
        error at once: if it may still be starting, call `wait_until_ready` before.

        Args:
            frames: images in any form that `detect` takes, from an asynchronous iterable, or from an ordinary
                one, which may block and is read in a thread of its own. What it raises is raised here, after
                the answers to the frames before.
            camera: the name of frames that carry none.
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            max_frame_rate: frames a second that are sent at most; 0: only the service's own limit. Frames
                that the network brings too close together are dropped by the service, and counted.
            priority: the stream's share of the service, 1 to 100; 0 means 10. While more frames come than can be
                served, a stream of priority 20 gets twice the time of one of 10.
            max_age: seconds; the service drops, and counts, a frame whose answer would be ready later than this
                after its arrival there. None: it answers however late.
            max_in_flight: frames that may be on their way, or answered and not yet taken, 1 to 32. Besides
                these, one waits and one is in the hand of the source: no more are held.
            when_full: what happens when as many are in flight. ``"wait"``: the source waits, every frame is
                answered (unless it broke a frame rate, or would be late), and after a lost connection those in flight are
                sent again. ``"newest"``: the newest frame takes the place of the one that waits, and
                those in flight at a loss are dropped.
            answer_timeout: seconds without news of any frame, while frames are on their way, after which the
                connection counts as lost.
            reconnect_timeout: seconds after which a lost connection is given up; None: never.
            on_reconnect: told of each lost connection: why, and after how many seconds it is tried again.
            traceparent: the span that the service's own of the stream shall belong to, as W3C Trace Context
                writes it; each `Frame` has its own.
            tracestate: likewise, what goes along with it.

        Returns:
            A stream to be iterated once; nothing is sent before.

        Raises:
            ValueError: an argument is not what it should be.
            RuntimeError: the client is closed.

        Example:
            >>> async def main():
            ...     photo = pathlib.Path("models/astronaut.jpg").read_bytes()
            ...     frames = [Frame(photo, frame_id=str(number)) for number in range(3)]
            ...     async with AsyncDetectorClient(address) as client:
            ...         return [result.frame_id async for result in client.stream(frames, camera="door")]
            >>> asyncio.run(main())
            ['0', '1', '2']
        """
        self._check_open()
        when_full = WhenFull(when_full)
        if not 1 <= max_in_flight <= _MOST_IN_FLIGHT:
            raise ValueError(f"max_in_flight must be 1 to {_MOST_IN_FLIGHT}, not {max_in_flight}")
        if not answer_timeout > 0 or (reconnect_timeout is not None and not reconnect_timeout >= 0):
            raise ValueError(
                "answer_timeout must be more than 0 seconds, and reconnect_timeout no less"
            )
        metadata = (*self._metadata, *trace_context(traceparent, tracestate))
        flow = Flow(max_in_flight=max_in_flight, when_full=when_full)
        config = pb.StreamConfig(
            camera=camera,
            settings=settings_message(settings),
            max_frame_rate=max_frame_rate,
            # Where every frame counts, the service shall drop none of those in flight.
            buffer_frames=max_in_flight if when_full is WhenFull.WAIT else 0,
            priority=priority,
            max_age=None if max_age is None else to_duration(max_age),
        )

        def converse(deliver: Callable[[Result | FrameError], None]) -> Conversation:
            return Conversation(
                lambda: self._service().StreamDetections(metadata=metadata),
                lambda error: to_error(error, self._address),
                flow,
                config,
                Patience(answer_timeout, reconnect_timeout),
                deliver=deliver,
                on_reconnect=on_reconnect,
            )

        stream = AsyncStream(frames, flow, config, converse)
        self._streams.add(stream)
        return stream

    async def models(self) -> Models:
        """Return which models serve.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         return await client.models()
            >>> asyncio.run(main()).body.counted_classes
            ('person',)
        """
        return to_models(await self._ask(self._service().GetModelInfo, pb.GetModelInfoRequest()))

    async def reload_models(self, timeout: float = 600.0) -> Models:
        """Have the service load its models' files anew; return those that serve from then on.

        Needs a token of the service's ADMIN_TOKENS_FILE. It goes on where its caller gives up.

        Args:
            timeout: seconds; weights that are exported first take a while.

        Raises:
            ServiceError: the new models cannot serve (``reason`` is ``"RELOAD_FAILED"``); those from before do.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address, token=admin_token) as client:
            ...         return await client.reload_models()
            >>> asyncio.run(main()).face.loaded
            True
        """
        admin: Any = detector_pb2_grpc.AdminServiceStub(self._channel())
        return to_models(await self._ask(admin.ReloadModels, pb.ReloadModelsRequest(), timeout))

    async def stats(self) -> Stats:
        """Return what the service has done since it started.

        Example:
            >>> async def main():
            ...     async with AsyncDetectorClient(address) as client:
            ...         return await client.stats()
            >>> asyncio.run(main()).uptime > 0
            True
        """
        return to_stats(await self._ask(self._service().GetStats, pb.GetStatsRequest()))

    def _channel(self) -> grpc.aio.Channel:
        self._check_open()
        loop = asyncio.get_running_loop()
        if self._channel_ is None:  # not sooner: it belongs to the event loop that runs now
            self._channel_, self._loop = self._target.open(), loop
        if loop is not self._loop:
            raise RuntimeError("the client belongs to another event loop; make one for each loop")
        return self._channel_

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def _service(self) -> Any:
        return detector_pb2_grpc.DetectorServiceStub(self._channel())

    async def _ask(
        self,
        method: Any,
        request: Any,
        timeout: float | None = None,
        *,
        of_frame: bool = False,
        also: Metadata = (),
    ) -> Any:
        seconds = self._timeout if timeout is None else timeout
        try:
            return await method(request, timeout=seconds, metadata=(*self._metadata, *also))
        except grpc.aio.AioRpcError as error:
            raise to_error(error, self._address, of_frame=of_frame) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            raise RuntimeError("the client was closed") from None
