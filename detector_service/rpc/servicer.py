"""DetectorService: each call of the contract, as thin as can be."""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc

from detector_service.detection.detector import Detector
from detector_service.frame_settings import FrameSettings, InvalidFieldError
from detector_service.rpc.admission import Admission, TooLate
from detector_service.rpc.frame_handler import Answer, Job
from detector_service.rpc.model_info import model_info
from detector_service.rpc.status import CallRefused, not_implemented, not_ready, shutting_down
from detector_service.rpc.stream import StreamSession
from detector_service.scheduling.fair_queue import Flow
from detector_service.scheduling.workers import Workers
from detector_service.settings import Settings
from detector_service.stats import Stats

if TYPE_CHECKING:  # imported where frames are traced
    from detector_service.rpc.frame_trace import CallTrace, Traces


class _Counting(Protocol):
    @property
    def stats(self) -> Stats: ...


_Servicer = TypeVar("_Servicer", bound=_Counting)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
#: How long a status may take to reach its client.
_STATUS_SECONDS: Final = 5.0

_Context = Any  # grpc.aio.ServicerContext; the generated base class wants a type of its own


def ends_with_status(
    call: Callable[[_Servicer, _Request, _Context], Awaitable[_Response]],
) -> Callable[[_Servicer, _Request, _Context], Awaitable[_Response]]:
    """Turn a CallRefused into the call's status, and count it; what is logged meanwhile names the call."""

    @wraps(call)
    async def wrapped(servicer: _Servicer, request: _Request, context: _Context) -> _Response:
        structlog.contextvars.bind_contextvars(call=call.__name__)  # in a task of its own
        try:
            return await call(servicer, request, context)
        except CallRefused as refused:
            servicer.stats.refusals[refused.reason] += 1
            try:
                async with asyncio.timeout(_STATUS_SECONDS):
                    await refused.end(context)
            except TimeoutError:
                # The status waits behind an answer that the client does not read. grpc.aio cannot
                # cancel a call; gRPC keeps the status until the client reads, or its connection ends.
                raise asyncio.CancelledError from None
            except grpc.aio.InternalError:
                # The client has left before its status could be sent.
                raise asyncio.CancelledError from None

    return wrapped


class DetectorServicer(detector_pb2_grpc.DetectorServiceServicer):
    """The calls; before `serve` and after `drain` they are refused with UNAVAILABLE."""

    def __init__(self, settings: Settings, stats: Stats, traces: "Traces | None" = None) -> None:
        self._settings: Final = settings
        self._traces: Final = traces
        self.stats: Final = stats
        self._detector: Detector | None = None
        self._workers: Workers[Job, Answer] | None = None
        self._draining = False
        self._sessions: Final[set[StreamSession]] = set()
        self._calls: Final[set[asyncio.Task[Any]]] = set()
        #: What unary calls have of the workers' time, all together.
        self._unary: Final[Flow[Any]] = Flow(settings.unary_priority)
        self._admission: Final = Admission(
            max_frames=settings.max_queued_frames, max_bytes=settings.max_buffered_bytes // 2
        )

    def serve(self, detector: Detector, workers: Workers[Job, Answer]) -> None:
        """Begin to take frames."""
        self._detector = detector
        self._workers = workers

    async def drain(self) -> None:
        """Refuse new calls, and let every stream answer what it has accepted; may be called twice."""
        self._draining = True
        for session in self._sessions:
            session.drain()
        if self._calls:
            await asyncio.wait(self._calls)

    @ends_with_status
    async def StreamDetections(  # type: ignore[override]  # answers are written through the context
        self, request: Any, context: _Context
    ) -> None:
        """Serve one camera's stream."""
        del request  # read through the context, so that reading can be stopped
        workers = self._ready()
        if len(self._sessions) >= self._settings.max_streams:
            raise CallRefused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                pb.ERROR_REASON_TOO_MANY_STREAMS,
                f"{self._settings.max_streams} streams are open, as many as MAX_STREAMS allows; "
                "close one, or try again later",
                retry_after=5.0,
            )
        stream = secrets.token_hex(4)
        structlog.contextvars.bind_contextvars(stream=stream)
        session = StreamSession(
            context, workers, self._settings, self.stats, name=stream, traces=self._traces
        )
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    @ends_with_status
    async def Detect(self, request: pb.DetectRequest, context: _Context) -> pb.DetectResponse:
        """Look at one image."""
        (answer,) = await self._answer(
            "Detect", request, [request.frame], self._defaults(), context
        )
        if isinstance(answer, pb.FrameError):
            raise CallRefused.of_frame(answer)
        return pb.DetectResponse(result=answer)

    @ends_with_status
    async def BatchDetect(
        self, request: pb.BatchDetectRequest, context: _Context
    ) -> pb.BatchDetectResponse:
        """Look at several images."""
        most = self._settings.max_batch_frames
        try:
            if not 1 <= len(request.frames) <= most:
                raise InvalidFieldError(
                    "frames",
                    f"must be 1 to {most} frames, not {len(request.frames)}",
                    pb.ERROR_REASON_INVALID_REQUEST,
                )
            settings = self._defaults().with_message(request.settings, "settings")
        except InvalidFieldError as error:
            raise CallRefused.of_field(error) from error
        answers = await self._answer("BatchDetect", request, request.frames, settings, context)
        return pb.BatchDetectResponse(
            outcomes=[
                pb.FrameOutcome(error=answer)
                if isinstance(answer, pb.FrameError)
                else pb.FrameOutcome(result=answer)
                for answer in answers
            ]
        )

    @ends_with_status
    async def GetModelInfo(
        self, request: pb.GetModelInfoRequest, context: _Context
    ) -> pb.GetModelInfoResponse:
        """Say which models serve."""
        del request, context
        self._ready()
        assert self._detector is not None
        return pb.GetModelInfoResponse(
            face_model=model_info(self._detector, "face"),
            body_model=model_info(self._detector, "body"),
        )

    async def GetStats(self, request: pb.GetStatsRequest, context: _Context) -> pb.GetStatsResponse:
        """Say what was done."""
        del request, context
        return self.stats.snapshot(queued=self._workers.waiting if self._workers else 0)

    @ends_with_status
    async def WatchAlerts(  # type: ignore[override]  # see StreamDetections
        self, request: pb.WatchAlertsRequest, context: _Context
    ) -> None:
        """Refuse: part of the contract, and not yet of the service."""
        del request, context
        raise not_implemented("WatchAlerts")

    @ends_with_status
    async def ReportAlert(
        self, request: pb.ReportAlertRequest, context: _Context
    ) -> pb.ReportAlertResponse:
        """Refuse: part of the contract, and not yet of the service."""
        del request, context
        raise not_implemented("ReportAlert")

    @ends_with_status
    async def QueryHistory(
        self, request: pb.QueryHistoryRequest, context: _Context
    ) -> pb.QueryHistoryResponse:
        """Refuse: part of the contract, and not yet of the service."""
        del request, context
        raise not_implemented("QueryHistory")

    def _ready(self) -> Workers[Job, Answer]:
        """Admit a call, which a drain will wait for."""
        if self._draining:
            raise shutting_down()
        if self._workers is None:
            raise not_ready()
        # gRPC's task of this call, which ends when the call's status has been sent.
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return self._workers

    def _defaults(self) -> FrameSettings:
        return FrameSettings(self._settings.confidence_threshold, self._settings.crowd_threshold)

    async def _answer(
        self,
        method: str,
        request: pb.DetectRequest | pb.BatchDetectRequest,
        frames: Sequence[pb.Frame],
        settings: FrameSettings,
        context: _Context,
    ) -> list[Answer]:
        """Answer the frames of one unary call; if the caller leaves, what has not begun is forgotten."""
        workers = self._ready()
        wait = workers.expected_wait(self._unary, len(frames))
        remaining = context.time_remaining()
        trace = (
            None
            if self._traces is None
            else self._traces.call(method, context.invocation_metadata())
        )
        try:
            with self._admission.admitted(
                len(frames), request.ByteSize(), wait=wait, remaining=remaining
            ):
                return await self._answer_admitted(workers, frames, settings, remaining, trace)
        except TooLate:
            workers.refuse(self._unary)
            raise

    async def _answer_admitted(
        self,
        workers: Workers[Job, Answer],
        frames: Sequence[pb.Frame],
        settings: FrameSettings,
        remaining: float | None,
        trace: "CallTrace | None",
    ) -> list[Answer]:
        count = len(frames)
        self.stats.received += count
        answers: list[Answer | None] = [None] * count
        missing = count
        all_there = asyncio.get_running_loop().create_future()

        def deliver(number: int, answer: Answer) -> None:
            nonlocal missing
            answers[number] = answer
            self.stats.answered(answer)
            missing -= 1
            if missing == 0 and not all_there.done():
                all_there.set_result(None)

        def drop(job: Job, reason: pb.DropReason.ValueType) -> None:
            nonlocal missing
            missing -= 1
            self.stats.drops[reason] += 1
            if job.trace is not None:
                job.trace.dropped(reason)
            if not all_there.done():
                left = job.arrived + (remaining or 0.0) - time.perf_counter()
                all_there.set_exception(TooLate(workers.expected_wait(self._unary, 1), left))

        seat = workers.join(
            deliver, drop, capacity=count, max_in_flight=count, flow=self._unary, yields=False
        )
        try:
            now = time.perf_counter()
            expires = math.inf if remaining is None else now + remaining
            for sequence, frame in enumerate(frames, start=1):
                traced = None if trace is None else trace.frame(frame, sequence, now)
                job = Job(frame, "", settings, sequence, now, trace=traced)
                workers.put(seat, job, size=frame.ByteSize(), expires=expires)
            await all_there
        finally:
            workers.leave(seat)
            self.stats.abandoned += missing
        return [answer for answer in answers if answer is not None]
