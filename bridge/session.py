"""One client's connection, from its first event to its last: what it sends, and what is done about it."""

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import structlog
from crowd.detector.v1 import detector_pb2 as pb
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

from bridge import alerts, events, protocols, translation
from bridge.answers import Answers
from bridge.client_writer import ClientWriter
from bridge.detector_stream import DetectorStream
from bridge.detectors import Detectors
from bridge.errors import ErrorCode, Refused
from bridge.frame_queue import Entry, FrameQueue
from bridge.message_limiter import MessageLimiter
from bridge.rate_limit import Pace
from bridge.settings import Settings
from bridge.stats import Stats
from bridge.timings import Timings
from telemetry.trace_context import TraceContext

if TYPE_CHECKING:  # imported where frames are traced
    from bridge.frame_trace import ConnectionTrace
    from telemetry.tracer import Tracer

_log = structlog.get_logger()

#: Why connections are closed at a drain.
GOES_DOWN: Final = "the bridge goes down; connect again"
#: Messages of a connection that may be unanswered: frames that wait or are with the detector, and refusals
#: whose turn has not come. A client that sends more nonsense than that is not read until some are told.
_MOST_UNANSWERED: Final = 128
#: Calls that a frame may be with as they end, before it is blamed for it.
_MOST_TRIES: Final = 2
#: Refusals of frames, of which there are spans.
_OF_FRAMES: Final = (ErrorCode.INVALID_FRAME, ErrorCode.FRAME_TOO_LARGE)
_CLIENT_SLOW: Final = "client_slow"
_RATE_LIMITED: Final = "rate_limited"
_SUPERSEDED: Final = "superseded"


class Session:
    """Serves one client that was let in.

    Two tasks share the work: this one reads, and `DetectorStream` sends frames to a detector and takes
    answers. Both have `Answers` write, in turns; so a client that does not read stops the answers, but never the reading of its
    frames, of which the newest wins.
    """

    def __init__(
        self,
        websocket: ServerConnection,
        protocol: protocols.WireProtocol,
        detectors: Detectors,
        settings: Settings,
        *,
        stats: Stats,
        timings: Timings,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._websocket: Final = websocket
        self._settings: Final = settings
        self._stats: Final = stats
        self._client_id: Final = str(websocket.id)
        self._limiter: Final = MessageLimiter(protocol, settings)
        self._pace: Final = Pace()
        self._queue: Final = FrameQueue(
            max_frames=settings.bridge_buffer_frames,
            max_bytes=settings.bridge_buffer_bytes,
            max_tries=_MOST_TRIES,
        )
        self._writer: Final = ClientWriter(
            websocket,
            stats,
            timeout=settings.websocket_write_timeout,
            timed_out=self._on_not_reading,
        )
        self._answers: Final = Answers(
            protocol, self._queue, self._writer, self._pace, stats=stats, timings=timings
        )
        context = translation.bounded(
            TraceContext.of_headers(
                websocket.request.headers.raw_items() if websocket.request else ()
            )
        )
        self._trace: Final = (
            None if tracer is None else _connection_trace(tracer, context, websocket.subprotocol)
        )
        self._stream: Final = DetectorStream(
            detectors,
            self._queue,
            self._answers,
            self._client_id,
            timeout=settings.detector_timeout,
            context=context if self._trace is None else self._trace.context,
        )
        self._streaming: asyncio.Task[None] | None = None
        self._alerts: Final = alerts.Subscription(detectors, self._on_alert, self._on_no_alerts)
        self._received = 0
        self._heard_at = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None  # for silence
        self._silence: asyncio.Timeout | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve until the client leaves, is silent for too long, or `drain` was called."""
        # What this task, those that it starts and their timers log names the connection; by no name that others know.
        structlog.contextvars.bind_contextvars(stream=secrets.token_hex(4))
        closed = asyncio.create_task(self._websocket.wait_closed())
        closed.add_done_callback(lambda _: self._answers.fewer.set())
        try:
            await self._answers.tell(
                events.Connected(events.ConnectedData(self._client_id, time.time_ns() // 1_000_000))
            )
            await self._read()
        except ConnectionClosed as error:
            self._note_too_large(error)
        finally:
            await self._alerts.end()
            for task in (self._streaming, closed):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            # What knows this session, or the queue with its images, would stay in a cycle with it until the
            # cyclic collector comes by, and clients that reconnect would fill memory meanwhile.
            self._stats.abandoned += self._queue.clear()
            if self._trace is not None:
                self._trace.ended(self._received, self._websocket.close_code)
            camera, self._streaming = self._stream.config.camera, None
            del self._stream, self._alerts, self._answers, self._writer
            _log.info(
                "session.ended",
                camera=camera,
                messages=self._received,
                close_code=self._websocket.close_code,
            )

    @property
    def subprotocol(self) -> str:
        """What it speaks."""
        return self._websocket.subprotocol or protocols.JSON

    @property
    def unanswered(self) -> FrameQueue:
        """Its frames that are not answered yet, to be looked at only."""
        return self._queue

    def drain(self) -> None:
        """Read no more; answer what was read, then close with 1001."""
        self._draining = True
        self._stop_reading()

    def _note_too_large(self, error: ConnectionClosed) -> None:
        """Count the refusal that `transport` tells a client whose message is too large, as the connection closes."""
        sent = error.sent
        if sent is None or sent.code != CloseCode.MESSAGE_TOO_BIG or error.rcvd_then_sent:
            return
        self._stats.refused[ErrorCode.FRAME_TOO_LARGE] += 1
        _log.warning(
            "message.refused",
            camera=self._stream.config.camera,
            sequence=self._received + 1,
            reason=ErrorCode.FRAME_TOO_LARGE,
            message=f"{sent.reason or 'the message is too large'}; the connection ends. Raise MAX_WEBSOCKET_MESSAGE_BYTES, "
            "or have its client send smaller pictures",
        )

    # ---- What the client sends ----

    async def _read(self) -> None:
        """Take messages until the client is silent for too long, or `drain` was called; then close."""
        try:
            async with asyncio.timeout(None) as self._silence:
                self._watch_for_silence()
                while not self._draining:
                    message = await self._websocket.recv()
                    self._heard_at = asyncio.get_running_loop().time()
                    await self._take(message)
        except TimeoutError:
            if not self._draining:
                await self._websocket.close(
                    CloseCode.NORMAL_CLOSURE,
                    f"nothing was sent for {self._settings.idle_timeout:g} s (IDLE_TIMEOUT)",
                )
                return
        finally:
            self._silence = None
            if self._watch is not None:
                self._watch.cancel()
        while self._stream.available and await self._more_than(0):
            pass
        await self._websocket.close(CloseCode.GOING_AWAY, GOES_DOWN)

    def _watch_for_silence(self) -> None:
        """Stop reading once nothing came for too long; one who subscribed need not send anything."""
        loop, idle = asyncio.get_running_loop(), self._settings.idle_timeout
        if not idle:
            return
        if self._alerts.active:
            self._heard_at = loop.time()
        # A timer for each message would cost more than one that looks whether there was any.
        silent_at = self._heard_at + idle
        if loop.time() < silent_at:
            self._watch = loop.call_at(silent_at, self._watch_for_silence)
        else:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._silence is not None and not self._silence.expired():
            self._silence.reschedule(asyncio.get_running_loop().time())

    async def _take(self, message: str | bytes) -> None:
        self._received += 1
        self._stats.messages_in += 1
        sequence = self._received
        arrived = time.perf_counter()
        try:
            request = self._limiter.decode(message, arrived)
            if request is None:
                self._stats.frames += 1
                self._answers.note_drops(_RATE_LIMITED)
                self._limiter.check_burst(arrived)
            else:
                await self._act(request, sequence, arrived)
        except Refused as refused:
            await self._refuse(refused, sequence, arrived)

    async def _refuse(self, refused: Refused, sequence: int, arrived: float) -> None:
        entry = Entry(sequence)
        if refused.code is ErrorCode.INVALID_FRAME:
            self._stats.frames += 1  # it could not be taken for one before
        if self._trace is not None and refused.code in _OF_FRAMES:
            entry.trace = self._trace.frame(refused.context, sequence, arrived)
            entry.trace.failed(refused.code)
        _log.warning(
            "message.refused",
            camera=self._stream.config.camera,
            sequence=sequence,
            reason=refused.code,
            message=str(refused),
            **entry.trace_ids,
        )
        await self._answers.refuse(refused, entry)
        while await self._more_than(_MOST_UNANSWERED):
            pass

    async def _more_than(self, count: int) -> bool:
        """Wait until something is answered, where more messages than these are not; return whether they were."""
        if len(self._queue) <= count or self._websocket.state is not State.OPEN:
            return False
        self._answers.fewer.clear()
        await self._answers.fewer.wait()
        return True

    async def _act(self, request: protocols.Incoming, sequence: int, arrived: float) -> None:
        match request:
            case protocols.IncomingFrame():
                self._take_frame(request, sequence, arrived)
            case pb.StreamConfig():
                self._pace.change(request.max_frame_rate)
                self._stream.configure(request)
                self._start_streaming()
            case events.SubscribeAlerts():
                await self._alerts.begin(request.data.cameras if request.data else [])
            case events.UnsubscribeAlerts():
                await self._alerts.end()
            case events.Authenticate():
                pass  # it is in already

    def _take_frame(self, incoming: protocols.IncomingFrame, sequence: int, arrived: float) -> None:
        self._stats.frames += 1
        frame, most = incoming.frame, self._settings.max_frame_bytes
        if frame.size > most:
            raise Refused(
                ErrorCode.FRAME_TOO_LARGE,
                f"the image has {frame.size:,} bytes, and at most {most:,} are accepted (MAX_FRAME_BYTES); send a "
                "smaller picture, or compress it more",
                context=frame.context,
            )
        trace = None if self._trace is None else self._trace.frame(frame.context, sequence, arrived)
        if not self._pace.admit(time.perf_counter()):
            self._answers.note_drops(_RATE_LIMITED)
            if trace is not None:
                trace.dropped(_RATE_LIMITED)
            return
        request = frame.request(None if trace is None else trace.queued())
        entry = Entry(sequence, incoming.timestamp, request, len(request), self._stream.config)
        entry.arrived, entry.trace = arrived, trace
        reason = _CLIENT_SLOW if self._writer.busy else _SUPERSEDED
        dropped = self._queue.put_frame(entry, reason)
        if dropped:
            self._answers.note_drops(reason, dropped)
        self._stream.wake()
        self._start_streaming()

    def _start_streaming(self) -> None:
        if self._streaming is None:
            self._streaming = asyncio.create_task(self._stream.run())
            self._streaming.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        """See to it that a task that failed does not leave a client waiting."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            _log.error(
                "session.failed",
                camera=self._stream.config.camera,
                message="a fault of the bridge: its client's connection is cut off. Report the exception",
                exc_info=error,
            )
            if self._websocket.state is State.OPEN:
                self._websocket.transport.abort()

    async def _on_no_alerts(self, reason: str) -> None:
        refused = Refused(
            ErrorCode.DETECTOR_UNAVAILABLE,
            "the detector does not give alerts, so there is no subscription; results carry their own "
            "alerts all the same",
            reason,
        )
        await self._answers.tell_refused(refused)

    async def _on_alert(self, alert: pb.Alert) -> None:
        event = translation.to_alert(alert)
        await self._answers.tell(event)
        self._stats.alerts[f"{event.data.type}.{event.data.level}"] += 1

    def _on_not_reading(self) -> None:
        seconds = self._settings.websocket_write_timeout
        _log.warning(
            "client.not_reading",
            camera=self._stream.config.camera,
            message=f"nothing could be sent to it for {seconds:g} s (WEBSOCKET_WRITE_TIMEOUT), so its connection is cut "
            "off; it must read what it is sent",
        )


def _connection_trace(
    tracer: "Tracer", context: TraceContext, subprotocol: str | None
) -> "ConnectionTrace":
    from bridge.frame_trace import ConnectionTrace  # noqa: PLC0415 - with OpenTelemetry

    return ConnectionTrace(tracer, context, subprotocol or protocols.JSON)
