"""Metrics on their way out by OTLP over gRPC."""

from functools import partial
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from telemetry.otlp import Exports, exporter
from telemetry.settings import OtelSettings


class _Exporter(OTLPMetricExporter):
    """The SDK's exporter; what becomes of each export is noted."""

    def __init__(self, exports: Exports, **known: Any) -> None:
        super().__init__(**known)
        self._exports: Final = exports

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self._exports.note(succeeded=result is MetricExportResult.SUCCESS)
        return result


def exporting_reader(endpoint: str, settings: OtelSettings, exports: Exports) -> MetricReader:
    """Return what exports every OTEL_METRIC_EXPORT_INTERVAL.

    Args:
        endpoint: where metrics go.
        settings: as read.
        exports: is told what becomes of them.

    Raises:
        OtelError: a variable that the SDK reads is not acceptable to it.
    """
    return PeriodicExportingMetricReader(
        exporter(partial(_Exporter, exports), "metrics", endpoint, settings),
        export_interval_millis=settings.otel_metric_export_interval,
    )
