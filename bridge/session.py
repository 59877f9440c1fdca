"""One client's connection, from its first event to its last: what it sends, what it is told, in what order."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog
from crowd.detector.v1 import detector_pb2 as pb
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

from bridge import alerts, events, protocols, translation, wire
from bridge.detector_stream import DetectorStream
from bridge.detectors import Detectors
from bridge.errors import ErrorCode, Refused
from bridge.frame_queue import Entry, FrameQueue, Message
from bridge.rate_limit import Bursts, Pace, TokenBucket
from bridge.refusals import echo, error_event
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
#: Messages a second, and at once, that are no frames: enough for a page whose user drags a slider. Each may cost
#: a call to every detector.
_EVENT_RATE: Final = 20.0
_EVENT_BURST: Final = 40
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
    answers. Both write, in turns; so a client that does not read stops the answers, but never the reading of its
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
        self._protocol: Final = protocol
        self._settings: Final = settings
        self._stats: Final = stats
        self._timings: Final = timings
        self._client_id: Final = str(websocket.id)
        self._bucket: Final = TokenBucket(settings.max_frame_rate, settings.max_frame_burst)
        self._too_soon: Final = Bursts()
        self._event_bucket: Final = TokenBucket(_EVENT_RATE, _EVENT_BURST)
        self._pace: Final = Pace()
        self._queue: Final = FrameQueue(
            max_frames=settings.bridge_buffer_frames,
            max_bytes=settings.bridge_buffer_bytes,
            max_tries=_MOST_TRIES,
        )
        context = TraceContext.of_headers(
            websocket.request.headers.raw_items() if websocket.request else ()
        )
        self._trace: Final = (
            None if tracer is None else _connection_trace(tracer, context, websocket.subprotocol)
        )
        self._stream: Final = DetectorStream(
            detectors,
            self._queue,
            self,
            self._client_id,
            timeout=settings.detector_timeout,
            context=context if self._trace is None else self._trace.context,
        )
        self._streaming: asyncio.Task[None] | None = None
        self._alerts: Final = alerts.Subscription(detectors, self._on_alert, self._on_no_alerts)
        self._drops: Final[Counter[str]] = Counter()  # not told yet
        self._received = 0
        self._writing: Final = asyncio.Lock()
        self._fewer: Final = asyncio.Event()  # messages unanswered than before
        self._heard_at = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None  # for silence
        self._silence: asyncio.Timeout | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve until the client leaves, is silent for too long, or `drain` was called."""
        # What this task, those that it starts and their timers log names the connection; by no name that others know.
        structlog.contextvars.bind_contextvars(stream=secrets.token_hex(4))
        closed = asyncio.create_task(self._websocket.wait_closed())
        closed.add_done_callback(lambda _: self._fewer.set())
        try:
            await self._send_event(
                events.Connected(events.ConnectedData(self._client_id, time.time_ns() // 1_000_000))
            )
            await self._read()
        except ConnectionClosed:
            pass
        finally:
            await self._alerts.end()
            for task in (self._streaming, closed):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            # Both know this session, and hold images; in a cycle they would stay until the cyclic
            # collector comes by, and clients that reconnect would fill memory meanwhile.
            self._queue.clear()
            if self._trace is not None:
                self._trace.ended(self._received, self._websocket.close_code)
            camera, self._streaming = self._stream.config.camera, None
            del self._stream, self._alerts
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
        now = time.monotonic()
        arrived = time.perf_counter()
        try:
            if self._bucket.admit(now):
                request = self._protocol.decode(message)
                if not isinstance(request, protocols.IncomingFrame):
                    self._bucket.give_back()
                    self._admit_event(now)
            elif self._protocol.is_frame(message):
                self._pass_over(now)
                return
            else:
                self._admit_event(now)
                request = self._protocol.decode(message)
            await self._act(request, sequence, arrived)
        except Refused as refused:
            await self._refuse(refused, sequence, arrived)

    def _pass_over(self, now: float) -> None:
        """Count a frame over the rate.

        Raises:
            Refused: RATE_LIMITED, for the first of a burst.
        """
        self._stats.frames += 1
        self._note_drops(_RATE_LIMITED)
        if self._too_soon.begins(now):
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"more than {self._settings.max_frame_rate:g} frames a second came on this connection, "
                "and are passed over; send fewer, or raise MAX_FRAME_RATE",
            )

    def _admit_event(self, now: float) -> None:
        """Let a message through that is no frame.

        Raises:
            Refused: RATE_LIMITED; each of them is told, for their senders wait to hear of each.
        """
        if not self._event_bucket.admit(now):
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"more than {_EVENT_RATE:g} messages a second that are no frames came on this connection, "
                "and this one is not acted on; send it again in a second",
            )

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
        (request, size, context), most = incoming.frame, self._settings.max_frame_bytes
        if size > most:
            raise Refused(
                ErrorCode.FRAME_TOO_LARGE,
                f"the image has {size:,} bytes, and at most {most:,} are accepted (MAX_FRAME_BYTES); send a "
                "smaller picture, or compress it more",
            )
        trace = None if self._trace is None else self._trace.frame(context, sequence, arrived)
        now = time.monotonic()
        if not self._pace.admit(now):
            self._note_drops(_RATE_LIMITED)
            if trace is not None:
                trace.dropped(_RATE_LIMITED)
            return
        if trace is not None:
            request = wire.belonging_to(request, trace.queued())
        entry = Entry(sequence, incoming.timestamp, request, len(request), self._stream.config)
        entry.arrived, entry.trace = now, trace
        dropped = self._queue.put_frame(entry)
        if dropped:
            self._note_drops(_CLIENT_SLOW if self._writing.locked() else _SUPERSEDED, dropped)
        self._stream.wake()
        self._start_streaming()

    def _note_drops(self, reason: str, count: int = 1) -> None:
        self._drops[reason] += count
        self._stats.dropped[reason] += count

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

    # ---- What becomes of its frames: see detector_stream.Owner ----

    async def on_answer(self, entry: Entry, response: pb.StreamDetectionsResponse) -> None:
        """Tell what became of a frame, once the frames before it are answered."""
        if response.HasField("result"):
            self._stats.results += 1
        else:
            self._stats.refused[translation.error_code(response.error)] += 1
        entry.answer = self._protocol.answer(
            response, entry.sequence, entry.timestamp, self._told_drops()
        )
        await self._tell_ready()

    async def on_configured(self, config: pb.StreamConfig, *, asked: bool) -> None:
        """Keep to the rate that applies; tell the client that its configuration was taken.

        What waited for frames that were dropped before it may be told, too.
        """
        self._pace.change(config.max_frame_rate)
        await self._tell_ready()
        if asked:
            await self._send(self._protocol.configured(config))

    async def on_config_refused(self, message: str) -> None:
        """Keep to the rate of the one before; tell that a configuration was not taken."""
        self._pace.change(self._stream.config.max_frame_rate)
        await self._send_event(self._error(Refused(ErrorCode.INVALID_MESSAGE, message)))

    async def on_unavailable(self, details: str) -> None:
        """Tell that no detector answers."""
        refused = Refused(
            ErrorCode.DETECTOR_UNAVAILABLE,
            "no detector answers; this connection stays, and its frames are taken again once one does",
            details,
        )
        await self._send_event(self._error(refused, drops=self._told_drops()))
        await self._tell_ready()

    async def on_given_up(self, entry: Entry) -> None:
        """Tell that a frame will not be tried again."""
        refused = Refused(
            ErrorCode.PROCESSING_ERROR,
            f"{_MOST_TRIES} detectors ended while they had this frame; it is not tried again",
        )
        entry.answer = protocols.event_message(
            self._error(refused, echo(entry.sequence, entry.timestamp))
        )
        if entry.trace is not None:
            entry.trace.failed(refused.code)
        await self._tell_ready()

    def on_drops(self, drops: Iterable[pb.DropCount], lost: int) -> None:
        """Count frames that were dropped elsewhere; the next answer tells of them."""
        for reason, count in translation.named_drops(drops).items():
            self._note_drops(reason, count)
        if lost:
            self._note_drops(translation.LOST, lost)
        self._fewer.set()

    # ---- What the client is told ----

    async def _refuse(self, refused: Refused, sequence: int, arrived: float) -> None:
        """Answer a message with an error, once the frames before it are answered."""
        _log.warning(
            "message.refused",
            camera=self._stream.config.camera,
            reason=refused.code,
            message=str(refused),
        )
        entry = Entry(sequence)
        if self._trace is not None and refused.code in _OF_FRAMES:
            entry.trace = self._trace.frame(TraceContext(), sequence, arrived)
            entry.trace.failed(refused.code)
        entry.answer = protocols.event_message(
            self._error(refused, echo(entry.sequence, entry.timestamp))
        )
        self._queue.put_answer(entry)
        await self._tell_ready()
        while await self._more_than(_MOST_UNANSWERED):
            pass

    async def _more_than(self, count: int) -> bool:
        """Wait until something is answered, where more messages than these are not; return whether they were."""
        if len(self._queue) <= count or self._websocket.state is not State.OPEN:
            return False
        self._fewer.clear()
        await self._fewer.wait()
        return True

    async def _tell_ready(self) -> None:
        async with self._writing:
            while entry := self._queue.ready(in_order=self._stream.available):
                assert entry.answer is not None
                try:
                    await self._write(entry.answer)
                except ConnectionClosed:
                    if entry.trace is not None:
                        entry.trace.dropped("connection_closed")
                    raise
                if entry.arrived is not None:
                    self._timings.answer(time.monotonic() - entry.arrived)
                if entry.trace is not None:
                    entry.trace.told()
        self._fewer.set()

    def _told_drops(self) -> dict[str, int]:
        drops = dict(self._drops)
        self._drops.clear()
        return drops

    async def _on_no_alerts(self, reason: str) -> None:
        refused = Refused(
            ErrorCode.DETECTOR_UNAVAILABLE,
            "the detector does not give alerts, so there is no subscription; results carry their own "
            "alerts all the same",
            reason,
        )
        await self._send_event(self._error(refused))

    async def _on_alert(self, alert: pb.Alert) -> None:
        event = translation.to_alert(alert)
        await self._send_event(event)
        self._stats.alerts[f"{event.data.type}.{event.data.level}"] += 1

    def _error(
        self,
        refused: Refused,
        about: events.FrameEcho | None = None,
        drops: dict[str, int] | None = None,
    ) -> events.Error:
        """Count a refusal; return it as an event."""
        self._stats.refused[refused.code] += 1
        return error_event(refused, about, drops)

    async def _send_event(self, event: events.Event) -> None:
        await self._send(protocols.event_message(event))

    async def _send(self, message: Message) -> None:
        async with self._writing:
            await self._write(message)

    async def _write(self, message: Message) -> None:
        limit = self._settings.websocket_write_timeout
        giving_up = asyncio.get_running_loop().call_later(limit, self._give_up)
        try:
            await self._websocket.send(message.data, text=message.text)
            self._stats.messages_out += 1
        finally:
            giving_up.cancel()

    def _give_up(self) -> None:
        """End the connection of a client that does not read; what is being written to it ends with that.

        There is no telling it why: a close frame would wait behind what it does not read.
        """
        seconds = self._settings.websocket_write_timeout
        camera = self._stream.config.camera
        _log.warning(
            "client.not_reading",
            camera=camera,
            message=f"nothing could be sent to it for {seconds:g} s (WEBSOCKET_WRITE_TIMEOUT), so its connection is cut "
            "off; it must read what it is sent",
        )
        self._websocket.transport.abort()


def _connection_trace(
    tracer: "Tracer", context: TraceContext, subprotocol: str | None
) -> "ConnectionTrace":
    from bridge.frame_trace import ConnectionTrace  # noqa: PLC0415 - with OpenTelemetry

    return ConnectionTrace(tracer, context, subprotocol or protocols.JSON)
