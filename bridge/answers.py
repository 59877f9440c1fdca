"""What one client is told of its messages, and in what order."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import structlog
from crowd.detector.v1 import detector_pb2 as pb
from websockets.exceptions import ConnectionClosed

from bridge import events, protocols, translation
from bridge.client_writer import ClientWriter
from bridge.errors import ErrorCode, Refused
from bridge.frame_queue import CONNECTION_CLOSED, Entry, FrameQueue
from bridge.rate_limit import Pace
from bridge.refusals import echo, error_event
from bridge.stats import Stats
from bridge.timings import Timings

_log = structlog.get_logger()


class Answers:
    """Tells a client what became of its messages, in their order, and counts that; a `detector_stream.Owner`.

    Attributes:
        fewer: is set where messages may have become fewer that are not answered.
    """

    def __init__(
        self,
        protocol: protocols.WireProtocol,
        queue: FrameQueue,
        writer: ClientWriter,
        pace: Pace,
        *,
        stats: Stats,
        timings: Timings,
    ) -> None:
        """Make it.

        Args:
            protocol: of the connection.
            queue: likewise, of its messages that are not answered.
            writer: likewise.
            pace: of its frames; is changed where another configuration applies.
            stats: count what is told.
            timings: likewise, how long it took.
        """
        self._protocol: Final = protocol
        self._queue: Final = queue
        self._writer: Final = writer
        self._pace: Final = pace
        self._stats: Final = stats
        self._timings: Final = timings
        self._drops: Final[Counter[str]] = Counter()  # not told yet
        self._in_order = True  # not while no detector answers: refusals would wait for ever
        self.fewer: Final = asyncio.Event()

    async def tell(self, event: events.Event) -> None:
        """Tell what answers no message; it waits for nothing but its turn to be written.

        Raises:
            ConnectionClosed: nobody takes it.
        """
        await self._writer.send(protocols.event_message(event))

    async def tell_refused(self, refused: Refused) -> None:
        """Likewise, of a refusal.

        Raises:
            ConnectionClosed: nobody takes it.
        """
        await self.tell(self._error(refused))

    async def refuse(self, refused: Refused, entry: Entry) -> None:
        """Answer a message with an error, once the frames before it are answered.

        Raises:
            ConnectionClosed: nobody takes it.
        """
        about = echo(entry.sequence, entry.timestamp)
        entry.answer = protocols.event_message(self._error(refused, about))
        self._queue.put_answer(entry)
        await self._tell_ready()

    def note_drops(self, reason: str, count: int = 1) -> None:
        """Count frames that were dropped; the next answer tells of them."""
        self._drops[reason] += count
        self._stats.dropped[reason] += count

    # ---- What becomes of its frames: see detector_stream.Owner ----

    async def on_answer(self, entry: Entry, response: pb.StreamDetectionsResponse) -> None:
        """Tell what became of a frame, once the frames before it are answered."""
        self._in_order = True
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
            await self._writer.send(self._protocol.configured(config))

    async def on_config_refused(self, config: pb.StreamConfig, message: str) -> None:
        """Keep to the rate of the one before; tell that a configuration was not taken."""
        self._pace.change(config.max_frame_rate)
        await self.tell_refused(Refused(ErrorCode.INVALID_MESSAGE, message))

    async def on_unavailable(self, details: str) -> None:
        """Tell that no detector answers."""
        self._in_order = False
        refused = Refused(
            ErrorCode.DETECTOR_UNAVAILABLE,
            "no detector answers; this connection stays, and its frames are taken again once one does",
            details,
        )
        await self.tell(self._error(refused, drops=self._told_drops()))
        await self._tell_ready()

    async def on_given_up(self, entry: Entry) -> None:
        """Tell that a frame will not be tried again."""
        refused = Refused(
            ErrorCode.PROCESSING_ERROR,
            f"{entry.tries} detectors ended while they had this frame; it is not tried again",
        )
        if entry.trace is not None:
            entry.trace.failed(refused.code)
        _log.warning(
            "frame.given_up",
            camera=entry.config.camera if entry.config else "",
            sequence=entry.sequence,
            message=f"{refused}. Their logs say why they ended; if it is this client's frames, look at what it sends",
            **entry.trace_ids,
        )
        about = echo(entry.sequence, entry.timestamp)
        entry.answer = protocols.event_message(self._error(refused, about))
        await self._tell_ready()

    def on_drops(self, drops: Iterable[pb.DropCount], lost: int) -> None:
        """Count frames that were dropped elsewhere."""
        for reason, count in translation.named_drops(drops).items():
            self.note_drops(reason, count)
        if lost:
            self.note_drops(translation.LOST, lost)
        self.fewer.set()

    async def _tell_ready(self) -> None:
        async with self._writer.turn:
            while entry := self._queue.ready(in_order=self._in_order):
                assert entry.answer is not None
                try:
                    await self._writer.write(entry.answer)
                except (ConnectionClosed, asyncio.CancelledError):
                    if entry.trace is not None:
                        entry.trace.dropped(CONNECTION_CLOSED)
                    raise
                if entry.arrived is not None:
                    self._timings.answer(time.perf_counter() - entry.arrived)
                if entry.trace is not None:
                    entry.trace.told()
        self.fewer.set()

    def _told_drops(self) -> dict[str, int]:
        drops = dict(self._drops)
        self._drops.clear()
        return drops

    def _error(
        self,
        refused: Refused,
        about: events.FrameEcho | None = None,
        drops: dict[str, int] | None = None,
    ) -> events.Error:
        """Count a refusal; return it as an event."""
        self._stats.refused[refused.code] += 1
        return error_event(refused, about, drops)
