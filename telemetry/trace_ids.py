"""Which trace a line of the log belongs to."""

import sys

from structlog.typing import EventDict


def add_trace_ids(_logger: object, _level: str, event: EventDict) -> EventDict:
    """Add `trace_id` and `span_id` of the current span, in hex as W3C Trace Context writes them.

    What the event has already stays. OpenTelemetry is asked only where somebody has imported it.
    """
    current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if current_span is not None:
        context = current_span().get_span_context()
        if context.is_valid:
            event.setdefault("trace_id", format(context.trace_id, "032x"))
            event.setdefault("span_id", format(context.span_id, "016x"))
    return event
