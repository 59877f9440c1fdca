"""A process's figures, and the ways they leave: a Prometheus page, and OTLP where an endpoint is set."""

import os
import threading
from collections.abc import Iterable
from typing import Final

import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from telemetry.otlp import Exports
from telemetry.process import observe_process
from telemetry.resource import release, resource
from telemetry.settings import OtelSettings

_log = structlog.get_logger()

#: What `Metrics.page` is, for HTTP.
PROMETHEUS_TEXT: Final = CONTENT_TYPE_PLAIN_0_0_4

#: For what was counted last to leave, seconds; a collector that is slower does not get it.
_CLOSE_SECONDS: Final = 1.5


class Metrics:
    """A process's meter, and what reads it.

    Attributes:
        meter: makes the instruments.
    """

    def __init__(self, service: str, settings: OtelSettings) -> None:
        """Begin to count, and to export where that is set.

        Args:
            service: the process's name, where OTEL_SERVICE_NAME gives none.
            settings: as read.

        Raises:
            OtelError: the exporter cannot be made of what is set.
        """
        self._registry: Final = CollectorRegistry()
        readers: list[MetricReader] = [
            PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)
        ]
        self._exports: Exports | None = None
        if (endpoint := settings.metrics_endpoint) is not None:
            from telemetry.otlp_metrics import exporting_reader  # noqa: PLC0415 - few export

            self._exports = Exports("metrics", endpoint)
            readers.append(exporting_reader(endpoint, settings, self._exports))
        # With it the SDK would count nothing at all, for the Prometheus page neither.
        os.environ.pop("OTEL_SDK_DISABLED", None)
        self._provider: MeterProvider | None = MeterProvider(
            readers,
            resource=resource(service),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.meter: Final[Meter] = self._provider.get_meter("crowd-detector", release())
        observe_process(self.meter)
        if self._exports is not None:
            self._observe_exports(self._exports)

    def page(self) -> bytes:
        """Return all figures as Prometheus text; for any thread, one at a time."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Export once more and stop, in two seconds at most; may be called twice."""
        provider, self._provider = self._provider, None
        if provider is None:
            return

        def shut_down() -> None:
            try:
                provider.shutdown(_CLOSE_SECONDS * 1000)
            except Exception as error:  # noqa: BLE001 - the SDK raises nothing else
                _log.warning(
                    "telemetry.not_closed",
                    reason=str(error),
                    message="the figures of the last moments may not have left; look at the collector",
                )

        # A thread of its own, which ends with the process where the SDK does not keep its word.
        closing = threading.Thread(target=shut_down, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS + 0.5)
        if self._exports is not None:
            self._exports.close()

    def _observe_exports(self, exports: Exports) -> None:
        def failed(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(exports.failed, {"signal": "metrics"})]

        self.meter.create_observable_counter(
            "crowd_detector.telemetry.exports.failed",
            [failed],
            "{export}",
            "Exports that no collector took.",
        )
