"""Whether frames are traced; where they are not, nothing is imported for it."""

from typing import TYPE_CHECKING

from telemetry.settings import OtelSettings

if TYPE_CHECKING:
    from telemetry.metrics import Metrics
    from telemetry.tracer import Tracer


def start(service: str, otel: OtelSettings, metrics: "Metrics | None") -> "Tracer | None":
    """Begin to trace, where that is set.

    Args:
        service: the name of this process, where OTEL_SERVICE_NAME gives no other.
        otel: as read.
        metrics: tell what was passed over; None: nothing is measured.

    Returns:
        What spans are made with; None where nothing is traced.

    Raises:
        OtelError: the exporter cannot be made of what is set.
    """
    if otel.traces_endpoint is None:
        return None
    # Where nothing is traced, neither time nor memory goes into these.
    from telemetry.resource import resource  # noqa: PLC0415
    from telemetry.span_queue import SpanQueue  # noqa: PLC0415
    from telemetry.tracer import Tracer  # noqa: PLC0415

    tracer = Tracer(SpanQueue(otel), resource(service), otel)
    if metrics is not None:
        tracer.observe(metrics.meter)
    return tracer
