"""Spans, made once what they tell of is over: from the times that it was at, and what it was known by meanwhile.

A span that exists while it lasts is an object with a lock, on every frame's way through several threads, and
whether it is kept is settled as it begins. Here a frame carries some numbers, and one call at its end writes all its
spans, or none. So a frame that failed can be kept although its trace was not sampled.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from telemetry.clock import WallClock, nanoseconds
from telemetry.instruments import reading
from telemetry.resource import release
from telemetry.settings import OtelSettings
from telemetry.span_queue import SpanQueue
from telemetry.trace_context import TraceContext

#: Characters of a `traceparent`, and of a `tracestate`, that are looked at: all that W3C Trace Context wants to be
#: passed on (https://www.w3.org/TR/trace-context/#tracestate-limits). The propagator would log each one that is longer.
_LONGEST: Final = 512
_UNSET: Final = Status(StatusCode.UNSET)


class Begun(NamedTuple):
    """A span that is not over.

    Attributes:
        context: what it is known by.
        parent: the span that it belongs to; None where it is the first of its trace.
    """

    context: SpanContext
    parent: SpanContext | None

    @property
    def sampled(self) -> bool:
        """Whether its trace is kept, whatever becomes of it."""
        return self.context.trace_flags.sampled


class Span(NamedTuple):
    """A span that is over.

    Attributes:
        name: what was done, the same for all that is alike.
        begun: what it is known by.
        start: by `time.perf_counter`.
        end: likewise.
        kind: on which side of a call.
        attributes: of what was done.
        links: to spans of other traces.
        error: what failed, for people; empty: nothing.
    """

    name: str
    begun: Begun
    start: float
    end: float
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, str | int | float | bool] = {}
    links: Sequence[Link] = ()
    error: str = ""


class Tracer:
    """Makes the spans of a process; may be used from any thread.

    Attributes:
        malformed: contexts that came and are none; they were passed over.
    """

    def __init__(self, queue: SpanQueue, resource: Resource, settings: OtelSettings) -> None:
        """Make it.

        Args:
            queue: takes the spans.
            resource: what they are of.
            settings: which traces are kept.
        """
        self._queue: Final = queue
        self._resource: Final = resource
        self._scope: Final = InstrumentationScope("crowd-detector", release())
        self._sampler: Final = _sampler(
            settings.otel_traces_sampler, settings.otel_traces_sampler_arg
        )
        self._ids: Final = RandomIdGenerator()
        self._propagator: Final = TraceContextTextMapPropagator()
        self._clock: Final = WallClock()
        self._lock: Final = threading.Lock()
        self.malformed = 0

    @property
    def dropped(self) -> int:
        """Spans that no collector took: there were too many for the queue, or it could not be reached."""
        return self._queue.dropped

    def begin(self, name: str, context: TraceContext, parent: SpanContext | None = None) -> Begun:
        """Begin a span, and settle whether its trace is kept.

        Args:
            name: of the span.
            context: what it says it belongs to, as it came; one that is malformed is counted and passed over.
            parent: what it belongs to otherwise; None: it begins a trace.
        """
        remote = self._read(context) or parent
        said = None if remote is None else trace.set_span_in_context(NonRecordingSpan(remote))
        trace_id = self._ids.generate_trace_id() if remote is None else remote.trace_id
        # Never None, for that means the span that is current, and none ever is here.
        result = self._sampler.should_sample(said or Context(), trace_id, name)
        random = TraceFlags.RANDOM_TRACE_ID if remote is None else remote.trace_flags
        flags = random & TraceFlags.RANDOM_TRACE_ID
        flags |= TraceFlags.SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else 0
        state = result.trace_state
        span_id = self._ids.generate_span_id()
        return Begun(SpanContext(trace_id, span_id, False, TraceFlags(flags), state), remote)

    def child(self, begun: Begun) -> Begun:
        """Begin a span within another one."""
        of = begun.context
        span_id = self._ids.generate_span_id()
        return Begun(SpanContext(of.trace_id, span_id, False, of.trace_flags, of.trace_state), of)

    def written(self, begun: Begun) -> TraceContext:
        """Return what tells another process which span its own belong to."""
        carrier: dict[str, str] = {}
        said = trace.set_span_in_context(NonRecordingSpan(begun.context))
        self._propagator.inject(carrier, said)
        return TraceContext(carrier.get("traceparent", ""), carrier.get("tracestate", ""))

    def emit(self, *spans: Span) -> None:
        """Have spans exported, whether their traces are sampled or not."""
        offset = self._clock.offset()
        for span in spans:
            context, parent = span.begun
            if not context.trace_flags.sampled:  # collectors are told the truth: it is here
                flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
                context = SpanContext(
                    context.trace_id, context.span_id, False, flags, context.trace_state
                )
            self._queue.put(
                # The SDK makes these as a span ends, and has no other way to give a span that its id was told of before.
                ReadableSpan(
                    span.name,
                    context,
                    parent,
                    self._resource,
                    attributes=span.attributes,
                    links=span.links,
                    kind=span.kind,
                    status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
                    start_time=offset + nanoseconds(span.start),
                    end_time=offset + nanoseconds(span.end),
                    instrumentation_scope=self._scope,
                )
            )

    def observe(self, meter: Meter) -> None:
        """Have a meter tell what was passed over."""
        for name, unit, value, description in (
            ("spans.dropped", "{span}", lambda: self.dropped, "Spans that no collector took."),
            (
                "contexts.malformed",
                "{context}",
                lambda: self.malformed,
                "Trace contexts that came and are none.",
            ),
        ):
            meter.create_observable_counter(
                f"crowd_detector.telemetry.{name}", [reading(value)], unit, description
            )

    def close(self) -> None:
        """Send what waits, for a second or so; blocks."""
        self._queue.close()

    def _read(self, context: TraceContext) -> SpanContext | None:
        if not context.traceparent:
            return None
        state = context.tracestate if len(context.tracestate) <= _LONGEST else ""
        if len(context.traceparent) <= _LONGEST:
            carrier = {"traceparent": context.traceparent, "tracestate": state}
            read = self._propagator.extract(carrier, Context())
            remote = trace.get_current_span(read).get_span_context()
            if remote.is_valid:
                return remote
        with self._lock:
            self.malformed += 1
        return None


def ids(begun: Begun) -> dict[str, str]:
    """Return what a line of the log says of the span that it belongs to."""
    return {
        "trace_id": trace.format_trace_id(begun.context.trace_id),
        "span_id": trace.format_span_id(begun.context.span_id),
    }


def _sampler(name: str, ratio: float) -> Sampler:
    root: Sampler = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(ratio),
    }[name.removeprefix("parentbased_")]
    return ParentBased(root) if name.startswith("parentbased_") else root
