"""The spans of calls and of their frames; docs/traces.md lists them.

A stream has a span as it begins and one as it ends, and each of its frames a trace of its own, or a place in that of
whoever sent it. One span from a stream's first frame to its last would be exported after days, or never.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from crowd.detector.v1 import detector_pb2 as pb
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, SpanKind

from detector_service.durations import seconds
from detector_service.engines.base import Batch
from detector_service.rpc.status import drop_name, reason_name
from telemetry.trace_context import TraceContext
from telemetry.tracer import Begun, Span, Tracer, ids

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["DetectorService"].full_name
_STREAM: Final = f"{_SERVICE}/StreamDetections"
_FRAME: Final = "detect_frame"
_BATCH: Final = "run_batch"
_GOOD_ENDS: Final = ("COMPLETED", "CLIENT_LEFT")
_Attributes: TypeAlias = dict[str, str | int | float | bool]


class Traces:
    """Makes the spans of the service.

    Attributes:
        tracer: takes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self.tracer: Final = tracer
        self._batches: Final[WeakKeyDictionary[Batch, Begun]] = WeakKeyDictionary()

    def call(self, method: str, metadata: Any) -> "CallTrace":
        """Begin the trace of a unary call: its frames belong to the span that its metadata names.

        Args:
            method: its name in the service.
            metadata: of the call, as gRPC gives it.
        """
        return CallTrace(self, f"{_SERVICE}/{method}", TraceContext.of_headers(metadata or ()))

    def stream(self, metadata: Any, name: str) -> "StreamTrace":
        """Begin the trace of a stream, and emit the span of its beginning.

        Args:
            metadata: of the call, as gRPC gives it.
            name: by which the log knows it.
        """
        return StreamTrace(self, TraceContext.of_headers(metadata or ()), name)

    def links(self, batches: Iterable[Batch]) -> list[Link]:
        """Return links to the spans of batches, which are emitted with the first link to them."""
        return [Link(self._batch(batch).context) for batch in batches]

    def _batch(self, batch: Batch) -> Begun:
        begun = self._batches.get(batch)
        if begun is None:
            begun = self.tracer.begin(_BATCH, TraceContext())
            # Of two threads whose frames were in one batch, the first is the one whose span it gets.
            first = self._batches.setdefault(batch, begun)
            if first is not begun:
                return first
            attributes: _Attributes = {"crowd.batch.size": batch.images}
            self.tracer.emit(Span(_BATCH, begun, batch.began, batch.ended, attributes=attributes))
        return begun


class CallTrace:
    """What the frames of one unary call have in common."""

    def __init__(self, traces: Traces, method: str, context: TraceContext) -> None:
        self._traces: Final = traces
        self._method: Final = method
        self._context: Final = context

    def frame(self, frame: pb.Frame, sequence: int, arrived: float) -> "FrameTrace":
        """Begin the trace of a frame.

        Args:
            frame: as it came.
            sequence: its number in the call.
            arrived: when, by `time.perf_counter`.
        """
        own = TraceContext(frame.traceparent, frame.tracestate)
        begun = self._traces.tracer.begin(_FRAME, own if own.traceparent else self._context)
        return FrameTrace(
            self._traces, begun, method=self._method, sequence=sequence, arrived=arrived
        )


class StreamTrace:
    """What the frames of one stream have in common: each is linked to the span of its beginning."""

    def __init__(self, traces: Traces, context: TraceContext, name: str) -> None:
        self._traces: Final = traces
        self._began: Final = time.perf_counter()
        self._begun: Final = traces.tracer.begin(_STREAM, context)
        self._links: Final = (Link(self._begun.context),)
        if self._begun.sampled:
            traces.tracer.emit(
                Span(
                    _STREAM,
                    self._begun,
                    self._began,
                    time.perf_counter(),
                    SpanKind.SERVER,
                    _rpc(_STREAM) | {"crowd.stream.name": name},
                )
            )

    def frame(self, frame: pb.Frame, sequence: int, arrived: float) -> "FrameTrace":
        """Begin the trace of a frame; see `CallTrace.frame`."""
        own = TraceContext(frame.traceparent, frame.tracestate)
        begun = self._traces.tracer.begin(_FRAME, own)
        return FrameTrace(
            self._traces,
            begun,
            method=_STREAM,
            sequence=sequence,
            arrived=arrived,
            links=self._links,
        )

    def ended(self, summary: pb.StreamSummary, dropped: int, how: str) -> None:
        """Emit the span of its end.

        Args:
            summary: what became of its frames.
            dropped: of them.
            how: it ended, as the log has it.
        """
        error = "" if how in _GOOD_ENDS else how
        if not (self._begun.sampled or error):
            return
        now = time.perf_counter()
        attributes: _Attributes = {
            "crowd.stream.end": how,
            "crowd.stream.seconds": now - self._began,
            "crowd.stream.frames": summary.frames_received,
            "crowd.stream.results": summary.results,
            "crowd.stream.errors": summary.errors,
            "crowd.stream.dropped": dropped,
        }
        if error:
            attributes[ERROR_TYPE] = error
        tracer = self._traces.tracer
        end = tracer.child(self._begun)
        tracer.emit(Span("end_stream", end, now, now, attributes=attributes, error=error))


class FrameTrace:
    """One frame's: what it is known by, and the times that it was at.

    Attributes:
        begun: when a worker took it, by `time.perf_counter`; 0 where none did.
        decoded: when its pixels were there; 0 where they never were.
        batches: that it was in.
    """

    __slots__ = (
        "_arrived",
        "_links",
        "_method",
        "_sequence",
        "_span",
        "_traces",
        "batches",
        "begun",
        "decoded",
    )

    def __init__(
        self,
        traces: Traces,
        span: Begun,
        *,
        method: str,
        sequence: int,
        arrived: float,
        links: Sequence[Link] = (),
    ) -> None:
        self._traces: Final = traces
        self._span: Final = span
        self._links: Final = links
        self._method: Final = method
        self._sequence: Final = sequence
        self._arrived: Final = arrived
        self.begun = 0.0
        self.decoded = 0.0
        self.batches: Sequence[Batch] = ()

    @property
    def ids(self) -> dict[str, str]:
        """What a line of the log says of it."""
        return ids(self._span)

    def answered(self, answer: pb.FrameResult | pb.FrameError) -> None:
        """Emit its spans, where it is sampled or failed."""
        end = time.perf_counter()
        about = answer.frame
        if isinstance(answer, pb.FrameError):
            if answer.reason == pb.ERROR_REASON_UNSPECIFIED:  # nobody waits for it any more
                if self._span.sampled:
                    self._emit(end, {"crowd.frame.abandoned": True}, self._failed_stages(end, ""))
                return
            failure = reason_name(answer.reason)
            attributes = self._about(about) | {ERROR_TYPE: failure}
            self._emit(end, attributes, self._failed_stages(end, failure), failure)
        elif self._span.sampled:
            inferred = self.decoded + seconds(answer.stage_times.inference)
            links = self._traces.links(self.batches)
            self._emit(
                end,
                self._about(about) | {"crowd.total_people": answer.crowd.total_people},
                [
                    self._stage("queue", self._arrived, self.begun),
                    self._stage("decode", self.begun, self.decoded),
                    self._stage("inference", self.decoded, inferred, links),
                    self._stage("post_processing", inferred, end),
                ],
            )

    def dropped(self, reason: pb.DropReason.ValueType) -> None:
        """Emit its span, where it is sampled or was too late."""
        if not (self._span.sampled or reason == pb.DROP_REASON_LATE):
            return
        end = time.perf_counter()
        self._emit(
            end,
            {"crowd.drop.reason": drop_name(reason)},
            [self._stage("queue", self._arrived, end)],
        )

    def _about(self, frame: pb.FrameInfo) -> _Attributes:
        about: _Attributes = {"crowd.frame.width": frame.width, "crowd.frame.height": frame.height}
        if frame.camera:
            about["crowd.camera"] = frame.camera
        if frame.frame_id:
            about["crowd.frame.id"] = frame.frame_id
        return about

    def _failed_stages(self, end: float, failure: str) -> list[Span]:
        """Return the stages that it came through, and the one that it did not."""
        stages = [self._stage("queue", self._arrived, self.begun)]
        if not self.decoded:
            return [*stages, self._stage("decode", self.begun, end, failure=failure)]
        stages.append(self._stage("decode", self.begun, self.decoded))
        return [*stages, self._stage("inference", self.decoded, end, failure=failure)]

    def _stage(
        self, name: str, start: float, end: float, links: Sequence[Link] = (), failure: str = ""
    ) -> Span:
        child = self._traces.tracer.child(self._span)
        return Span(name, child, start, end, links=links, error=failure)

    def _emit(
        self, end: float, attributes: _Attributes, stages: Sequence[Span], error: str = ""
    ) -> None:
        attributes = _rpc(self._method) | {"crowd.frame.sequence": self._sequence} | attributes
        frame = Span(
            _FRAME, self._span, self._arrived, end, SpanKind.SERVER, attributes, self._links, error
        )
        self._traces.tracer.emit(frame, *stages)


def _rpc(method: str) -> _Attributes:
    return {"rpc.system.name": "grpc", "rpc.method": method}
