"""The spans of connections and of their frames; docs/traces.md lists them.

A connection has a span as it begins and one as it ends. Its frames have traces of their own, or places in those of the
pages that sent them; see `detector_service.rpc.frame_trace`.
"""

import time
from typing import Final, TypeAlias

from crowd.detector.v1 import detector_pb2 as pb
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, SpanKind

from bridge import translation
from telemetry.trace_context import TraceContext
from telemetry.tracer import Span, Tracer, ids

_METHOD: Final = f"{pb.DESCRIPTOR.services_by_name['DetectorService'].full_name}/StreamDetections"
_FRAME: Final = "process_frame"
_HANDSHAKE: Final = "GET /ws"
_SWITCHING_PROTOCOLS: Final = 101
#: Drops that are failures: their spans are kept whether they are sampled or not.
_FAILURES: Final = (translation.LOST, "late")
_Attributes: TypeAlias = dict[str, str | int | float | bool]


class ConnectionTrace:
    """What the frames of one connection have in common: each is linked to the span of its handshake."""

    def __init__(self, tracer: Tracer, context: TraceContext, subprotocol: str) -> None:
        """Make it, and emit the span of the handshake.

        Args:
            tracer: takes spans.
            context: of the handshake's headers.
            subprotocol: that was negotiated.
        """
        self._tracer: Final = tracer
        self._began: Final = time.perf_counter()
        self._begun: Final = tracer.begin(_HANDSHAKE, context)
        self._links: Final = (Link(self._begun.context),)
        if self._begun.sampled:
            attributes: _Attributes = {
                "http.request.method": "GET",
                "http.route": "/ws",
                "http.response.status_code": _SWITCHING_PROTOCOLS,
                "network.protocol.name": "websocket",
                "crowd.subprotocol": subprotocol,
            }
            now = time.perf_counter()
            tracer.emit(
                Span(_HANDSHAKE, self._begun, self._began, now, SpanKind.SERVER, attributes)
            )

    @property
    def context(self) -> TraceContext:
        """What the detectors' streams are told that they belong to."""
        return self._tracer.written(self._begun)

    def frame(self, context: TraceContext, sequence: int, arrived: float) -> "FrameTrace":
        """Begin the trace of a frame.

        Args:
            context: of its message.
            sequence: the number of the message on the connection.
            arrived: when it came, by `time.perf_counter`.
        """
        return FrameTrace(self._tracer, context, self._links, sequence, arrived)

    def ended(self, messages: int, close_code: int | None) -> None:
        """Emit the span of its end.

        Args:
            messages: that came.
            close_code: of the WebSocket; None: there was none.
        """
        if not self._begun.sampled:
            return
        now = time.perf_counter()
        attributes: _Attributes = {
            "crowd.connection.seconds": now - self._began,
            "crowd.connection.messages": messages,
        }
        if close_code is not None:
            attributes["crowd.connection.close_code"] = close_code
        end = self._tracer.child(self._begun)
        self._tracer.emit(Span("close", end, now, now, attributes=attributes))


class FrameTrace:
    """One frame's: what it is known by, and the times that it was at, by `time.perf_counter`; 0: not yet."""

    __slots__ = (
        "_answered",
        "_arrived",
        "_attributes",
        "_call",
        "_detector",
        "_error",
        "_links",
        "_queued",
        "_sent",
        "_span",
        "_tracer",
    )

    def __init__(
        self,
        tracer: Tracer,
        context: TraceContext,
        links: tuple[Link, ...],
        sequence: int,
        arrived: float,
    ) -> None:
        self._tracer: Final = tracer
        self._span: Final = tracer.begin(_FRAME, context)
        self._call: Final = tracer.child(self._span)
        self._links: Final = links
        self._attributes: Final[_Attributes] = {"crowd.frame.sequence": sequence}
        self._arrived: Final = arrived
        self._queued = 0.0
        self._sent = 0.0
        self._answered = 0.0
        self._detector = ""
        self._error = ""

    @property
    def ids(self) -> dict[str, str]:
        """What a line of the log about it says."""
        return ids(self._span)

    def queued(self) -> TraceContext:
        """Learn that it waits for a detector; return what that one is to be told."""
        self._queued = time.perf_counter()
        return self._tracer.written(self._call)

    def sent(self, detector: str) -> None:
        """Learn that it is on its way to a detector, perhaps not the first one."""
        self._sent = time.perf_counter()
        self._detector = detector

    def answered(self, response: pb.StreamDetectionsResponse) -> None:
        """Learn what became of it; the client is not told yet."""
        self._answered = time.perf_counter()
        if response.HasField("error"):
            self._error = translation.error_code(response.error)

    def failed(self, code: str) -> None:
        """Learn that it gets no answer but an error of the bridge's; the client is not told yet."""
        self._error = code

    def told(self) -> None:
        """Emit its spans, where it is sampled or failed: its client has what became of it."""
        if self._span.sampled or self._error:
            self._emit(time.perf_counter())

    def dropped(self, reason: str) -> None:
        """Emit its spans, where it is sampled, failed or the reason is a failure: its client gets no answer to it."""
        if self._span.sampled or self._error or reason in _FAILURES:
            self._attributes["crowd.drop.reason"] = reason
            self._emit(time.perf_counter())

    def _emit(self, end: float) -> None:
        if self._error:
            self._attributes[ERROR_TYPE] = self._error
        kind, child = SpanKind.SERVER, self._tracer.child
        queued = self._queued or end
        spans = [
            Span(
                _FRAME,
                self._span,
                self._arrived,
                end,
                kind,
                self._attributes,
                self._links,
                self._error,
            ),
            Span("decode", child(self._span), self._arrived, queued),
        ]
        if self._queued:
            spans.append(Span("queue", child(self._span), queued, self._sent or end))
        if self._sent:
            spans.append(self._call_span(self._answered or end))
        if self._answered:
            spans.append(Span("send", child(self._span), self._answered, end))
        self._tracer.emit(*spans)

    def _call_span(self, end: float) -> Span:
        host, _, port = self._detector.rpartition(":")
        attributes: _Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": _METHOD,
            "server.address": host.strip("[]"),
            "server.port": int(port),
        }
        return Span(_METHOD, self._call, self._sent, end, SpanKind.CLIENT, attributes)
