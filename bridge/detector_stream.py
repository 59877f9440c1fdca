"""One connection's frames on their way through a detector, and through another when that one goes away."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb

from bridge import translation
from bridge.detectors import DetectorLink, Detectors, being_cancelled
from bridge.frame_queue import Entry, FrameQueue
from telemetry.trace_context import TraceContext

_log = structlog.get_logger()

_Call: TypeAlias = Any  # grpc.aio.StreamStreamCall; the generated one wants types of its own

#: Frames that a detector may have of one connection. It bounds what is remembered of them; the detector's own
#: limit, with the largest buffer a client can ask for, is 32 waiting and a few in work.
_MOST_IN_FLIGHT: Final = 64
#: Seconds of silence, where a detector has frames, after which it is asked what became of them.
_ASK_AFTER: Final = 1.0
_PAUSES: Final = (0.1, 2.0)  # seconds: the first and the longest, where a detector refuses
#: What grpc.aio raises where a call that is over is written to or read from, besides its status.
_OVER: Final = (grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError)


class Owner(Protocol):
    """Whose frames they are: it is told what becomes of them."""

    async def on_answer(self, entry: Entry, response: pb.StreamDetectionsResponse) -> None:
        """Take an answer."""

    async def on_configured(self, config: pb.StreamConfig, *, asked: bool) -> None:
        """Learn which configuration applies, and whether the client asked for it."""

    async def on_config_refused(self, config: pb.StreamConfig, message: str) -> None:
        """Learn that the detector does not accept a configuration; the one given applies again."""

    async def on_unavailable(self, details: str) -> None:
        """Learn that no detector answers; told once, until one does again."""

    async def on_given_up(self, entry: Entry) -> None:
        """Learn that a frame was with several calls as they ended."""

    def on_drops(self, drops: Iterable[pb.DropCount], lost: int) -> None:
        """Learn of frames that were dropped by the detector, and of those lost with it."""


class _Unconfirmed(NamedTuple):
    """A configuration that was sent, and not answered yet.

    Attributes:
        config: as it was sent.
        frames: sent before it in this call.
    """

    config: pb.StreamConfig
    frames: int


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a call ended.

    Attributes:
        details: why, for people.
        answered: whether anything had come back.
        refused: a configuration that ended it, because the detector does not accept it.
    """

    details: str
    answered: bool
    refused: pb.StreamConfig | None


class DetectorStream:
    """Feeds a queue's frames to a detector and takes its answers, for as long as `run` runs.

    A call is opened once there is something to send. What the detector is asked for, one write at a time, is
    done by a task of its own, so that a detector that does not read holds up no answers.

    A detector tells of the frames that it dropped with whatever it sends next. Where that is nothing, it is asked:
    it answers a configuration at once, also one that it has already.

    Attributes:
        config: that applies to frames that come now.
        available: whether a detector answers, as far as the owner was told.
    """

    def __init__(
        self,
        detectors: Detectors,
        queue: FrameQueue,
        owner: Owner,
        camera: str,
        *,
        timeout: float,
        context: TraceContext,
    ) -> None:
        """Make it.

        Args:
            detectors: to choose from.
            queue: of the connection.
            owner: is told what becomes of the frames.
            camera: the name of frames that carry none, where the client gives none.
            timeout: seconds after which a detector that has frames and answers nothing is given up.
            context: the span that its calls belong to.
        """
        self._detectors: Final = detectors
        self._queue: Final = queue
        self._owner: Final = owner
        self._camera: Final = camera
        self._timeout: Final = timeout
        self._metadata: Final = context.metadata()
        self.config = pb.StreamConfig(camera=camera)
        self._confirmed = self.config  # the last one that a detector took
        self._owed: Final[list[pb.StreamConfig]] = []  # to be confirmed to the client
        self._sent: pb.StreamConfig | None = None  # the last one, in the call under way
        self._unconfirmed: Final[deque[_Unconfirmed]] = deque()  # likewise
        self._accounted = 0  # frames that were answered or told as dropped; likewise
        self._heard = False  # anything; likewise
        self._ask_at = 0.0
        self._deadline = 0.0
        self._work: Final = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._reading = False  # from the call under way; not while the client is told
        self._gave_up = False  # the call under way
        self.available = True

    def configure(self, config: pb.StreamConfig) -> None:
        """Serve the frames that come from here on so.

        One that is replaced before it was sent is not confirmed.
        """
        if self._owed and self._owed[-1] is not self._sent:
            self._owed.pop()
        self.config = pb.StreamConfig()
        self.config.CopyFrom(config)
        self.config.camera = config.camera or self._camera
        self._owed.append(self.config)
        self._work.set()

    def wake(self) -> None:
        """Learn that there is a frame in the queue."""
        self._work.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        avoid: DetectorLink | None = None
        first_pause, longest_pause = _PAUSES
        failures, pause = 0, first_pause
        while True:
            while not (self._queue.waiting or self._owed):
                self._work.clear()
                await self._work.wait()
            if self._detectors.choose() is None:
                await self._detectors.wait_heard()
            link = self._detectors.choose(avoid) or self._detectors.choose()
            if link is None:
                await self._say_unavailable(self._detectors.unavailable())
                await self._detectors.wait_serving()
                continue
            ended = await self._call(link)
            await self._clean_up(ended)
            if ended.refused is not None:
                await self._refuse(ended.refused, ended.details)
                continue
            _log.warning(
                "detector.stream_ended",
                camera=self.config.camera,
                detector=link.address,
                reason=ended.details,
                message="another detector is asked, or this one again; if it was not told to end, look at its log",
            )
            avoid = link
            if ended.answered:
                failures, pause = 0, first_pause
            failures += 1
            if self._detectors.choose(avoid) is None or failures > len(self._detectors.links):
                await self._say_unavailable(f"{link.address}: {ended.details}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest_pause)

    async def _say_unavailable(self, details: str) -> None:
        """Tell it once, until a detector answers again."""
        if self.available:
            self.available = False
            await self._owner.on_unavailable(details)

    async def _refuse(self, config: pb.StreamConfig, details: str) -> None:
        """Go back to the configuration before."""
        self._queue.replace_config(config, self._confirmed)
        if self.config is config:
            self.config = self._confirmed
        self._owed[:] = [each for each in self._owed if each is not config]
        await self._owner.on_config_refused(self.config, details)

    async def _clean_up(self, ended: _Ended) -> None:
        losses = self._queue.call_ended(had_them=ended.answered)
        self._owner.on_drops((), losses.lost)
        if losses.given_up is not None:
            await self._owner.on_given_up(losses.given_up)

    async def _call(self, link: DetectorLink) -> _Ended:
        call: _Call = link.stream_detections(metadata=(*link.metadata, *self._metadata))
        self._sent, self._heard, self._accounted = None, False, 0
        self._gave_up = False
        self._unconfirmed.clear()
        writer = asyncio.create_task(self._write(call, link))
        link.streams += 1
        refused, details = None, ""
        try:
            details = await self._read(call)
        except grpc.aio.AioRpcError as error:
            details = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                refused = self._suspect()
        except _OVER as error:
            details = str(error)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            details = "CANCELLED"
            if self._gave_up:
                details = f"it had frames, and answered none for {self._timeout:g} s"
        finally:
            self._sent = None
            self._reading = False
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None
            link.streams -= 1
            writer.cancel()
            # After its summary a detector waits for its client to fall silent; this tells it.
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        del self._owed[:-1]  # the next detector is sent the last one only
        return _Ended(details, self._heard, refused)

    def _suspect(self) -> pb.StreamConfig | None:
        """Return the first configuration of the call that no detector has taken yet; None where there is none."""
        sent = (each.config for each in self._unconfirmed)
        return next((config for config in sent if config is not self._confirmed), None)

    async def _read(self, call: _Call) -> str:
        """Take what comes until the detector ends the call in good order; return why it did."""
        while True:
            self._reading = True
            response = await call.read()
            self._reading = False
            if response is grpc.aio.EOF:
                return "the detector ended the stream"
            self._heard = True
            self._ask_at = _now() + _ASK_AFTER
            self._accounted += sum(each.count for each in response.drops)
            progress = True
            match response.WhichOneof("message"):
                case "configured":
                    asked = await self._take_confirmation(response)
                    progress = asked or bool(response.drops)
                case "summary":
                    self._owner.on_drops(response.drops, 0)
                    return "the detector goes down"
                case _:
                    await self._take(response)
            if progress:  # to tell the client of it may have taken a while
                self._deadline = _now() + self._timeout
            self._say_room()

    async def _take_confirmation(self, response: pb.StreamDetectionsResponse) -> bool:
        """Learn that a configuration applies, and what became of the frames before it; return whether it was owed."""
        if not self._unconfirmed:
            return False  # it speaks of what it was not asked
        config, frames = self._unconfirmed.popleft()
        if self._accounted >= frames:
            self._queue.dropped(frames, _why(response))
        self._owner.on_drops(response.drops, 0)
        self._confirmed = config
        owed = any(each is config for each in self._owed)
        self._owed[:] = [each for each in self._owed if each is not config]
        await self._owner.on_configured(response.configured, asked=owed)
        return owed

    async def _take(self, response: pb.StreamDetectionsResponse) -> None:
        self.available = True
        self._accounted += 1
        self._owner.on_drops(response.drops, 0)
        about = (response.result if response.HasField("result") else response.error).frame
        entry = self._queue.answered(about.sequence, _why(response))
        self._say_room()
        if entry is not None:
            if entry.trace is not None:
                entry.trace.answered(response)
            await self._owner.on_answer(entry, response)

    async def _write(self, call: _Call, link: DetectorLink) -> None:
        """Send what the queue has, each frame under its configuration, one write at a time.

        Where the call is over, its reader learns why.
        """
        try:
            while True:
                config = self._queue.next_config() or self.config
                if config is not self._sent or self._must_ask():
                    self._sent = config
                    self._unconfirmed.append(_Unconfirmed(config, self._queue.sent))
                    await call.write(pb.StreamDetectionsRequest(config=config).SerializeToString())
                    continue
                entry = self._queue.next_frame() if self._room() else None
                if entry is None:
                    self._work.clear()
                    await self._work.wait()
                    continue
                assert entry.request is not None
                if entry.trace is not None:
                    entry.trace.sent(link.address)
                self._expect_answer(call)
                await call.write(entry.request)
        except (grpc.aio.AioRpcError, *_OVER):
            pass
        except Exception:
            call.cancel()  # its reader would wait for ever
            raise

    def _must_ask(self) -> bool:
        """Return whether the detector is to say what became of its frames; one question at a time."""
        return bool(self._queue.in_flight) and not self._unconfirmed and _now() >= self._ask_at

    def _room(self) -> bool:
        return self._queue.in_flight < _MOST_IN_FLIGHT

    def _say_room(self) -> None:
        """Let a frame be sent that waits because the detector had too many."""
        if self._queue.waiting:
            self._work.set()

    def _expect_answer(self, call: _Call) -> None:
        """Begin to lose patience, where the detector had no frames until now."""
        if self._queue.in_flight > 1:
            return
        now = _now()
        self._ask_at = now + _ASK_AFTER
        self._deadline = now + self._timeout
        if self._watch is None:
            self._look_again(call)  # or there will be a look in time: what is due has only moved on

    def _look(self, call: _Call) -> None:
        """See whether it is time to ask, or to give the detector up."""
        self._watch = None
        if not self._queue.in_flight:
            return
        if self._reading and _now() >= self._deadline:
            self._gave_up = True
            call.cancel()
            return
        if self._must_ask():
            self._work.set()
        self._look_again(call)

    def _look_again(self, call: _Call) -> None:
        # Both times move on with each answer. A timer that is moved with them would cost more than one that
        # looks in vain.
        now = _now()
        due = [each for each in (self._ask_at, self._deadline) if each > now]
        when = min([*due, now + _ASK_AFTER])
        self._watch = asyncio.get_running_loop().call_at(when, self._look, call)


def _why(response: pb.StreamDetectionsResponse) -> str:
    """Return why the frames before an answer were dropped, where that is told of all of them alike."""
    if len(response.drops) != 1:
        return "detector"
    return next(iter(translation.named_drops(response.drops)))


def _now() -> float:
    return asyncio.get_running_loop().time()
