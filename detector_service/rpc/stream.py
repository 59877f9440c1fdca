"""One StreamDetections call: frames in, answers out in their order, everything between them bounded."""

import asyncio
import contextlib
import math
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError

from detector_service.durations import seconds
from detector_service.frame_settings import (
    DEFAULT_PRIORITY,
    FrameSettings,
    InvalidFieldError,
    check_stream_config,
)
from detector_service.rpc.frame_handler import Answer, Job
from detector_service.rpc.status import CallRefused, drop_name, reason_name, shutting_down
from detector_service.scheduling.rate_limiter import RateLimiter
from detector_service.scheduling.reorder_buffer import ReorderBuffer
from detector_service.scheduling.workers import Workers
from detector_service.settings import Settings
from detector_service.stats import Stats

if TYPE_CHECKING:  # imported where frames are traced
    from detector_service.rpc.frame_trace import Traces

_log = structlog.get_logger()

#: Answers of one stream that may be on their way to the client beyond what is being worked on: with
#: none, a worker would wait for the network before it could take the stream's next frame.
_ANSWERS_UNDER_WAY: Final = 2

#: How long a client may go on sending once it was told that its stream ends, and how long it must
#: have sent nothing to be taken to have stopped.
_FAREWELL_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 0.5


class StreamSession:
    """A stream from its first message to its status.

    Two tasks share it: one reads requests and puts frames before the workers, the other writes what
    the workers answer. What can wait is bounded everywhere: frames by the stream's buffer (the newest
    win), answers by the number of frames in work (while the client does not read, none are taken).
    """

    def __init__(
        self,
        context: "grpc.aio.ServicerContext[pb.StreamDetectionsRequest, pb.StreamDetectionsResponse]",
        workers: Workers[Job, Answer],
        settings: Settings,
        stats: Stats,
        *,
        name: str,
        traces: "Traces | None" = None,
    ) -> None:
        """Make it.

        Args:
            context: of the call.
            workers: that answer frames.
            settings: as read.
            stats: of the service.
            name: by which the log knows the stream.
            traces: makes the spans of its frames; None: nothing is traced.
        """
        self._context: Final[Any] = context
        self._workers: Final = workers
        self._settings: Final = settings
        self._stats: Final = stats
        self._name: Final = name
        self._began: Final = time.monotonic()
        self._max_in_flight: Final = workers.count + _ANSWERS_UNDER_WAY
        self._seat: Final = workers.join(
            self._deliver,
            self._give_up,
            capacity=settings.stream_buffer_frames,
            max_in_flight=self._max_in_flight,
        )
        workers.reweigh(self._seat, DEFAULT_PRIORITY)
        self._max_age = math.inf  # seconds
        self._config = pb.StreamConfig()
        self._frame_settings = FrameSettings(
            settings.confidence_threshold, settings.crowd_threshold
        )
        self._rate_limiter = RateLimiter(settings.max_stream_frame_rate)
        self._reorder_buffer: Final[ReorderBuffer[Answer]] = ReorderBuffer()
        self._unsent: Final[deque[Answer]] = deque()
        self._summary: Final = pb.StreamSummary()
        self._dropped: Final[Counter[pb.DropReason.ValueType]] = Counter()
        self._untold_drops: Final[Counter[pb.DropReason.ValueType]] = Counter()
        self._open_frames = 0  # accepted, and neither dropped nor answered
        self._let_go = 0  # messages that came after the end was decided
        self._changed: Final = asyncio.Event()
        self._writing: Final = asyncio.Lock()
        self._ending: CallRefused | None = None
        self._stuck: CallRefused | None = None
        self._reader: asyncio.Task[None] | None = None
        self._trace: Final = (
            None if traces is None else traces.stream(context.invocation_metadata(), name)
        )

    async def run(self) -> None:
        """Serve the stream until the client has half-closed, or `drain` was called, and all is answered.

        Raises:
            CallRefused: the stream ends with a status other than OK.
            asyncio.CancelledError: the client has gone, or its deadline has passed.
        """
        self._stats.active_streams += 1
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(lambda _: self._changed.set())
        how = "CLIENT_LEFT"
        try:
            while self._open_frames or not (self._reader.done() or self._ending):
                if not self._unsent:
                    self._changed.clear()
                    await self._changed.wait()
                while self._unsent:
                    await self._send_answer()
            await self._send(pb.StreamDetectionsResponse(summary=self._summed_up()))
            if self._ending is not None:
                await self._farewell(self._reader)
                raise self._ending
            self._reader.result()
            how = "COMPLETED"
        except CallRefused as refused:
            how = reason_name(refused.reason)
            raise
        finally:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._reader
            self._workers.leave(self._seat)
            self._stats.abandoned += self._open_frames
            self._stats.active_streams -= 1
            if self._trace is not None:
                self._trace.ended(self._summary, self._dropped.total(), how)
            self._log_end(how)

    def _log_end(self, how: str) -> None:
        _log.info(
            "stream.ended",
            camera=self._config.camera,
            reason=how,
            seconds=round(time.monotonic() - self._began, 3),
            frames_received=self._summary.frames_received,
            frames_processed=self._summary.results,
            errors=self._summary.errors,
            frames_dropped={drop_name(reason): count for reason, count in self._dropped.items()},
            frames_abandoned=self._open_frames,
        )

    def drain(self) -> None:
        """Take no more frames; answer those that were accepted, then end the stream.

        A stream whose client has half-closed ends with OK all the same.
        """
        if self._reader is not None and not self._reader.done():
            self._end_with(shutting_down())

    async def _farewell(self, reader: "asyncio.Task[None]") -> None:
        """Wait until the client has stopped sending, as the summary tells it to.

        If the status came while it sends, its library might show an error of its own making in the
        status's place (grpc.aio: INTERNAL).
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                before = -1
                while not reader.done() and self._let_go > before:
                    before = self._let_go
                    await asyncio.wait({reader}, timeout=_QUIET_SECONDS)

    def _end_with(self, refused: CallRefused) -> None:
        self._ending = self._ending or refused
        self._changed.set()

    async def _read(self) -> None:
        """Take in what the client sends; once the end is decided, what still comes is let go."""
        while (request := await self._next_request()) is not None:
            if self._ending is not None:
                self._let_go += 1
                continue
            try:
                match request.WhichOneof("message"):
                    case "frame":
                        self._accept(request.frame)
                    case "config":
                        await self._configure(request.config)
                    case _:
                        raise InvalidFieldError(
                            "message",
                            "must be set: a config or a frame",
                            pb.ERROR_REASON_INVALID_REQUEST,
                        )
            except InvalidFieldError as error:
                self._end_with(CallRefused.of_field(error))

    async def _next_request(self) -> pb.StreamDetectionsRequest | None:
        """Return the next message, or None where the client has half-closed."""
        try:
            request = await self._context.read()
        except DecodeError:
            self._end_with(
                CallRefused(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    pb.ERROR_REASON_INVALID_REQUEST,
                    "a message could not be parsed as a StreamDetectionsRequest; is the client's "
                    "contract crowd.detector.v1?",
                )
            )
            return pb.StreamDetectionsRequest()
        return None if request is grpc.aio.EOF else request

    async def _configure(self, config: pb.StreamConfig) -> None:
        self._frame_settings = check_stream_config(
            config,
            FrameSettings(self._settings.confidence_threshold, self._settings.crowd_threshold),
        )
        limits = [
            rate for rate in (config.max_frame_rate, self._settings.max_stream_frame_rate) if rate
        ]
        applied = pb.StreamConfig(
            camera=config.camera,
            settings=pb.DetectionSettings(
                confidence_threshold=self._frame_settings.confidence_threshold,
                crowd_threshold=self._frame_settings.crowd_threshold,
            ),
            max_frame_rate=min(limits, default=0.0),
            buffer_frames=config.buffer_frames or self._settings.stream_buffer_frames,
            priority=config.priority or DEFAULT_PRIORITY,
            max_age=config.max_age if config.HasField("max_age") else None,
        )
        self._max_age = seconds(config.max_age) if config.HasField("max_age") else math.inf
        self._rate_limiter.change(applied.max_frame_rate)
        self._workers.resize(self._seat, applied.buffer_frames)
        self._workers.reweigh(self._seat, applied.priority)
        self._config = applied
        await self._send(pb.StreamDetectionsResponse(configured=applied))

    def _accept(self, frame: pb.Frame) -> None:
        now = time.perf_counter()
        self._stats.received += 1
        self._summary.frames_received += 1
        sequence = self._summary.frames_received
        trace = None if self._trace is None else self._trace.frame(frame, sequence, now)
        if not self._rate_limiter.admit(now):
            if trace is not None:
                trace.dropped(pb.DROP_REASON_RATE_LIMITED)
            self._drop(pb.DROP_REASON_RATE_LIMITED, was_accepted=False)
            return
        job = Job(
            frame,
            self._config.camera,
            self._frame_settings,
            sequence,
            now,
            stream=self._name,
            trace=trace,
        )
        self._open_frames += 1
        self._workers.put(self._seat, job, size=frame.ByteSize(), expires=now + self._max_age)

    def _give_up(self, job: Job, reason: pb.DropReason.ValueType) -> None:
        """Count a frame that was accepted, and that no worker will look at."""
        # All that may be in work is answered, and the answers wait for the client.
        held_up = len(self._unsent) >= self._max_in_flight
        if reason == pb.DROP_REASON_SUPERSEDED and held_up:
            reason = pb.DROP_REASON_CLIENT_SLOW
        if job.trace is not None:
            job.trace.dropped(reason)
        self._drop(reason, was_accepted=True)
        self._changed.set()

    def _drop(self, reason: pb.DropReason.ValueType, *, was_accepted: bool) -> None:
        self._open_frames -= was_accepted
        self._dropped[reason] += 1
        self._untold_drops[reason] += 1
        self._stats.drops[reason] += 1

    def _deliver(self, number: int, answer: Answer) -> None:
        self._unsent.extend(self._reorder_buffer.put(number, answer))
        self._changed.set()

    async def _send_answer(self) -> None:
        answer = self._unsent[0]
        if isinstance(answer, pb.FrameResult):
            self._summary.results += 1
            response = pb.StreamDetectionsResponse(result=answer)
        else:
            self._summary.errors += 1
            response = pb.StreamDetectionsResponse(error=answer)
        await self._send(response)
        self._unsent.popleft()
        self._open_frames -= 1
        self._stats.answered(answer)
        self._workers.release(self._seat)

    async def _send(self, response: pb.StreamDetectionsResponse) -> None:
        async with self._writing:
            if self._stuck is not None:
                raise self._stuck  # an earlier write is still pending, and gRPC takes one at a time
            response.drops.extend(_counts(self._untold_drops))
            self._untold_drops.clear()
            try:
                async with asyncio.timeout(self._settings.stream_write_timeout):
                    await self._context.write(response)
            except TimeoutError as error:
                self._stuck = CallRefused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    pb.ERROR_REASON_CLIENT_NOT_READING,
                    f"no answer could be sent for {self._settings.stream_write_timeout:g} s, because the "
                    "client does not read; read the answers while sending frames",
                )
                raise self._stuck from error

    def _summed_up(self) -> pb.StreamSummary:
        self._summary.drops.extend(_counts(self._dropped))
        return self._summary


def _counts(drops: Counter[pb.DropReason.ValueType]) -> list[pb.DropCount]:
    return [pb.DropCount(reason=reason, count=count) for reason, count in sorted(drops.items())]
