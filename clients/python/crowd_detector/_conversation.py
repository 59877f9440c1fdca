"""What is said on a stream's connections: frames and settings out, answers in, and again after a loss."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb

from crowd_detector._backoff import Backoff
from crowd_detector._flow import Flow
from crowd_detector.errors import (
    AnswerTimeoutError,
    DetectorError,
    FrameError,
    ServiceError,
    UnavailableError,
)
from crowd_detector.frames import frame_message
from crowd_detector.results import Result

_log: Final = logging.getLogger("crowd_detector")

#: How long nothing may come while frames are outstanding, until the service is asked what became of them:
#: it tells of dropped frames in its next answer, and to a configuration it answers at once.
_ASK_SECONDS: Final = 1.0

#: How long a connection must have lasted for the next loss to be a new one.
_LASTING_SECONDS: Final = 5.0

_Call = Any  # grpc.aio.StreamStreamCall


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        answer: for the service to answer anything, while frames are outstanding.
        reconnection: for a lost connection to be of use again; None: for ever.
    """

    answer: float
    reconnection: float | None


class Conversation:
    """One stream's calls, one after the other, until all its frames are answered."""

    def __init__(
        self,
        open_call: Callable[[], _Call],
        to_error: Callable[[grpc.aio.AioRpcError], DetectorError],
        flow: Flow,
        config: pb.StreamConfig,
        patience: Patience,
        *,
        deliver: Callable[[Result | FrameError], None],
        on_reconnect: Callable[[DetectorError, float], None] | None,
    ) -> None:
        """Make it.

        Args:
            open_call: begins a StreamDetections call.
            to_error: turns a failed call into an exception.
            flow: the stream's frames.
            config: sent first on each call; may be changed, `tell_config` then sends it again.
            patience: how long is waited.
            deliver: takes the answers, in order.
            on_reconnect: told of each lost connection, and after how many seconds it is tried again.
        """
        self._open_call: Final = open_call
        self._to_error: Final = to_error
        self._flow: Final = flow
        self._config: Final = config
        self._patience: Final = patience
        self._deliver: Final = deliver
        self._on_reconnect: Final = on_reconnect
        self._loop: Final = asyncio.get_running_loop()
        self._backoff: Final = Backoff()
        self._wake: Final = asyncio.Event()
        self.has_room: Final = asyncio.Event()  # for the source: perhaps it may give one more frame
        self._ever_configured = False
        self._lost_since: float | None = None
        # Of the call under way:
        self._configured_at: float | None = None
        self._config_untold = False
        self._summed_up = False
        self._broken: Exception | None = None
        self._progress = 0.0  # when it was last heard what became of a frame
        self._frame_interval = 0.0

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._wake.set()

    def tell_config(self) -> None:
        """Have the configuration sent again."""
        self._config_untold = True
        self._wake.set()

    async def run(self) -> None:
        """Converse until all frames are answered.

        Raises:
            DetectorError: the service refuses the stream, or could not be reached again in time.
        """
        while True:
            try:
                await self._call_once()
            except grpc.aio.AioRpcError as failed:
                error = self._to_error(failed)
            except AnswerTimeoutError as failed:
                error = failed
            else:
                error = UnavailableError("the service ended the stream before all frames were sent")
            if self._flow.finished:
                return
            if not self._may_pass(error):
                raise error
            self._flow.lost()
            await self._wait_before_next(error)

    def _may_pass(self, error: DetectorError) -> bool:
        """Return whether another try may go better.

        A service that was never reached is more likely a wrong address than one that is away; one that
        refuses, and says when to come again, is there.
        """
        if error.retry_after is not None:
            return True
        lost = isinstance(error, UnavailableError | AnswerTimeoutError) or (
            isinstance(error, ServiceError)
            and not error.reason  # gRPC's own, of a broken connection
        )
        return lost and self._ever_configured

    async def _wait_before_next(self, error: DetectorError) -> None:
        now = self._loop.time()
        delay = self._backoff.next(error.retry_after or 0.0)
        if self._lost_since is None:
            self._lost_since = now
        limit = self._patience.reconnection
        if limit is not None and now + delay - self._lost_since > limit:
            raise error
        _log.warning("stream ended, trying again in %.1f s: %s", delay, error)
        if self._on_reconnect is not None:
            self._on_reconnect(error, delay)
        await asyncio.sleep(delay)

    async def _call_once(self) -> None:
        self._configured_at = self._broken = None
        self._config_untold = self._summed_up = False
        self._progress = self._loop.time()
        self._flow.begin_call()
        call = self._open_call()
        beside = [
            asyncio.create_task(self._send(call), name="crowd-detector-send"),
            asyncio.create_task(self._watch(call), name="crowd-detector-watch"),
        ]
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                self._take(response)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._broken is None or (task is not None and task.cancelling()):
                raise
            raise self._broken from None  # cancelled was the call, and not this task
        finally:
            for each in beside:
                each.cancel()
            call.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _break(self, call: _Call, error: Exception) -> None:
        """End the call under way, for a reason of our own."""
        self._broken = self._broken or error
        call.cancel()

    def _take(self, response: pb.StreamDetectionsResponse) -> None:
        answer = self._flow.answer(response)
        if answer is not None or response.drops:
            self._progress = self._loop.time()
        if answer is not None:
            self._recovered()
            self._deliver(answer)
        elif response.HasField("configured"):
            self._begin(response.configured)
        elif response.HasField("summary"):
            self._summed_up = True
        self._wake.set()

    def _begin(self, applied: pb.StreamConfig) -> None:
        self._frame_interval = 1 / applied.max_frame_rate if applied.max_frame_rate else 0.0
        if self._configured_at is not None:
            return
        self._configured_at = self._progress = self._loop.time()
        if self._ever_configured:
            self._flow.reconnections += 1
        self._ever_configured = True

    def _recovered(self) -> None:
        """Say that the next loss is a new one."""
        self._lost_since = None
        self._backoff.reset()

    async def _send(self, call: _Call) -> None:
        try:
            await self._send_all(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended; whoever reads from it learns why
        except Exception as error:  # noqa: BLE001 - such as a frame that no message can be made of
            self._break(call, error)

    async def _send_all(self, call: _Call) -> None:
        """Send what there is to send: the configuration, then frames as fast as they may be sent.

        After the summary nothing more: the service would not take it, and gRPC would report that in place
        of the reason for the end.
        """
        await call.write(pb.StreamDetectionsRequest(config=self._config))
        sent_at = float("-inf")
        while not self._summed_up:
            self._wake.clear()
            wait = sent_at + self._frame_interval - self._loop.time()
            configured = self._configured_at is not None
            if self._config_untold:
                self._config_untold = False
                await call.write(pb.StreamDetectionsRequest(config=self._config))
            elif configured and wait <= 0 and (frame := self._flow.take()) is not None:
                sent_at = self._loop.time()
                if self._flow.outstanding == 1:
                    self._progress = sent_at
                self.has_room.set()
                await call.write(pb.StreamDetectionsRequest(frame=frame_message(frame)))
                del frame  # or it would be kept here while the next is waited for
            elif configured and self._flow.all_sent:
                await call.done_writing()
                return
            else:
                await self._woken(wait)

    async def _woken(self, seconds: float) -> None:
        """Wait for something to change, or for the time until the next frame may be sent, if it is not yet."""
        if seconds <= 0:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _watch(self, call: _Call) -> None:
        """Give up a call that answers nothing, and ask after frames of which nothing was said."""
        began, patience = self._loop.time(), self._patience.answer
        if self._lost_since is not None and self._patience.reconnection is not None:
            left = self._lost_since + self._patience.reconnection - began
            patience_to_connect = min(patience, max(left, 0.0))
        else:
            patience_to_connect = patience
        while True:
            await asyncio.sleep(min(_ASK_SECONDS, patience / 4))
            now = self._loop.time()
            if self._configured_at is None:
                if now - began > patience_to_connect:
                    self._break(call, _silent(patience_to_connect))
                continue
            if now - self._configured_at > _LASTING_SECONDS:
                self._recovered()
            if self._flow.outstanding and now - self._progress > patience:
                self._break(call, _silent(patience))
            elif self._flow.outstanding and now - self._progress >= _ASK_SECONDS:
                self.tell_config()


def _silent(seconds: float) -> AnswerTimeoutError:
    return AnswerTimeoutError(f"the service has answered nothing for {seconds:.3g} s")
