"""One connection's frames on their way through a detector, and through another when that one goes away."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb

from bridge.detectors import DetectorLink, Detectors, being_cancelled
from bridge.frame_queue import Entry, FrameQueue

_log = structlog.get_logger()

_Call: TypeAlias = Any  # grpc.aio.StreamStreamCall; the generated one wants types of its own

#: Frames that a detector may have of one connection. It bounds what is remembered of them; the detector's own
#: limit, with the largest buffer a client can ask for, is 32 waiting and a few in work.
_MOST_IN_FLIGHT: Final = 64
_PAUSES: Final = (0.1, 2.0)  # seconds: the first and the longest, where a detector refuses
#: What grpc.aio raises where a call that is over is written to or read from, besides its status.
_OVER: Final = (grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError)


class Owner(Protocol):
    """Whose frames they are: it is told what becomes of them."""

    async def on_answer(self, entry: Entry, response: pb.StreamDetectionsResponse) -> None:
        """Take an answer."""

    async def on_configured(self, config: pb.StreamConfig, *, asked: bool) -> None:
        """Learn which configuration applies, and whether the client asked for it."""

    async def on_config_refused(self, message: str) -> None:
        """Learn that the detector does not accept the configuration; the one before applies again."""

    async def on_unavailable(self, details: str) -> None:
        """Learn that no detector answers; told once, until one does again."""

    async def on_given_up(self, entry: Entry) -> None:
        """Learn that a frame was with several calls as they ended."""

    def on_drops(self, drops: Iterable[pb.DropCount], lost: int) -> None:
        """Learn of frames that were dropped by the detector, and of those lost with it."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a call ended.

    Attributes:
        code: its status, where there is one.
        details: why, for people.
        answered: whether anything had come back.
    """

    code: grpc.StatusCode | None
    details: str
    answered: bool


class DetectorStream:
    """Feeds a queue's frames to a detector and takes its answers, for as long as `run` runs.

    A call is opened once there is something to send. What the detector is asked for, one write at a time, is
    done by a task of its own, so that a detector that does not read holds up no answers.
    """

    def __init__(
        self, detectors: Detectors, queue: FrameQueue, owner: Owner, camera: str, timeout: float
    ) -> None:
        """Make it.

        Args:
            detectors: to choose from.
            queue: of the connection.
            owner: is told what becomes of the frames.
            camera: the name of frames that carry none, where the client gives none.
            timeout: seconds after which a detector that has frames and answers nothing is given up.
        """
        self._detectors: Final = detectors
        self._queue: Final = queue
        self._owner: Final = owner
        self._camera: Final = camera
        self._timeout: Final = timeout
        self._config = pb.StreamConfig(camera=camera)
        self._config_before = self._config
        self._asked = False  # by the client, for a configuration that no call has confirmed yet
        self._config_unsent = False
        self._heard = False  # anything, from the call under way
        self._work: Final = asyncio.Event()
        self._patience: asyncio.Timeout | None = None
        self.available = True

    def configure(self, config: pb.StreamConfig) -> None:
        """Serve the frames so from here on."""
        self._config_before = self._config
        self._config = pb.StreamConfig()
        self._config.CopyFrom(config)
        self._config.camera = config.camera or self._camera
        self._asked = self._config_unsent = True
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
            while not (self._queue.waiting or self._asked):
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
            if ended.code is grpc.StatusCode.INVALID_ARGUMENT:
                self._config, self._asked = self._config_before, False
                await self._owner.on_config_refused(ended.details)
                continue
            _log.info("stream.ended", detector=link.address, reason=ended.details)
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

    async def _clean_up(self, ended: _Ended) -> None:
        losses = self._queue.call_ended(had_them=ended.answered)
        self._owner.on_drops((), losses.lost)
        if losses.given_up is not None:
            await self._owner.on_given_up(losses.given_up)

    async def _call(self, link: DetectorLink) -> _Ended:
        call: _Call = link.service.StreamDetections(metadata=link.metadata)
        confirmations: deque[bool] = deque()  # of configurations: whether the client asked for it
        writer = asyncio.create_task(self._write(call, confirmations))
        link.streams += 1
        self._heard = False
        code, details = None, ""
        try:
            details = await self._read(call, confirmations)
        except TimeoutError:
            details = f"it had frames, and answered none for {self._timeout:g} s"
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), f"{error.code().name}: {error.details()}"
        except _OVER as error:
            details = str(error)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            details = "CANCELLED"
        finally:
            self._patience = None
            self._asked = self._asked or any(confirmations)
            link.streams -= 1
            writer.cancel()
            # After its summary a detector waits for its client to fall silent; this tells it.
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return _Ended(code, details, self._heard)

    async def _read(self, call: _Call, confirmations: "deque[bool]") -> str:
        """Take what comes until the detector ends the call in good order; return why it did."""
        while True:
            limit = self._timeout if self._queue.in_flight else None
            async with asyncio.timeout(limit) as self._patience:
                response = await call.read()
            self._patience = None
            if response is grpc.aio.EOF:
                return "the detector ended the stream"
            self._heard = True
            match response.WhichOneof("message"):
                case "configured":
                    asked = bool(confirmations) and confirmations.popleft()
                    if asked:
                        self._asked = self._asked and self._config_unsent
                        self._config_before = self._config
                    await self._owner.on_configured(response.configured, asked=asked)
                case "summary":
                    self._owner.on_drops(response.drops, 0)
                    return "the detector goes down"
                case _:
                    await self._take(response)

    async def _take(self, response: pb.StreamDetectionsResponse) -> None:
        self.available = True
        self._owner.on_drops(response.drops, 0)
        about = (response.result if response.HasField("result") else response.error).frame
        entry = self._queue.answered(about.sequence)
        self._work.set()  # there is room for one more in flight
        if entry is not None:
            await self._owner.on_answer(entry, response)

    async def _write(self, call: _Call, confirmations: "deque[bool]") -> None:
        """Send the configuration and then what the queue has, one write at a time.

        Where the call is over, its reader learns why.
        """
        self._config_unsent = True
        try:
            while True:
                if self._config_unsent:
                    self._config_unsent = False
                    confirmations.append(self._asked)
                    await call.write(pb.StreamDetectionsRequest(config=self._config))
                entry = self._queue.next_frame() if self._room() else None
                if entry is not None:
                    assert entry.request is not None
                    self._expect_answer()
                    await call.write(entry.request)
                elif not self._config_unsent:
                    self._work.clear()
                    await self._work.wait()
        except (grpc.aio.AioRpcError, *_OVER):
            pass
        except Exception:
            call.cancel()  # its reader would wait for ever
            raise

    def _room(self) -> bool:
        return self._queue.in_flight < _MOST_IN_FLIGHT

    def _expect_answer(self) -> None:
        """Begin to lose patience, where the detector had no frames until now."""
        if self._patience is not None and self._patience.when() is None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._timeout)
