"""Metrics on their way out by OTLP over gRPC."""

from typing import Any, Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from telemetry.otlp import Exports
from telemetry.settings import OtelError, OtelSettings


class _Exporter(OTLPMetricExporter):
    """The SDK's exporter, which reads the standard variables itself; what becomes of each export is noted."""

    def __init__(self, endpoint: str, exports: Exports) -> None:
        super().__init__(endpoint)
        self._exports: Final = exports

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self._exports.note(succeeded=result is MetricExportResult.SUCCESS)
        return result


def exporting_reader(settings: OtelSettings, exports: Exports) -> MetricReader:
    """Return what exports every OTEL_METRIC_EXPORT_INTERVAL.

    Args:
        settings: as read; they must have an endpoint for metrics.
        exports: is told what becomes of them.

    Raises:
        OtelError: a variable that the SDK reads is not acceptable to it.
    """
    endpoint = settings.metrics_endpoint
    assert endpoint is not None, "there is no endpoint"
    try:
        exporter = _Exporter(endpoint, exports)
    except Exception as error:
        raise OtelError(
            f"OTEL_EXPORTER_OTLP_*: no exporter can be made of them: {error}"
        ) from error
    return PeriodicExportingMetricReader(
        exporter, export_interval_millis=settings.otel_metric_export_interval
    )
