"""Spans on their way to a collector: bounded, counted, and let go of where it cannot be reached."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from telemetry.otlp import Exports, exporter
from telemetry.settings import OtelSettings

_log = structlog.get_logger()

_CLOSE_SECONDS: Final = 1.0  # for the last spans to leave


class SpanQueue:
    """Takes spans from any thread, and sends them from one of its own.

    A span that comes while as many wait as may is dropped. Those of a request that the collector does not take,
    after some repetitions, are dropped too.
    """

    def __init__(self, settings: OtelSettings) -> None:
        """Make it; nothing is connected before there is a span.

        Args:
            settings: as read; they have an endpoint for traces.

        Raises:
            OtelError: a variable that the SDK reads is not acceptable to it.
        """
        endpoint = settings.traces_endpoint
        assert endpoint is not None, "there is no endpoint"
        self._most: Final = settings.otel_bsp_max_queue_size
        self._lock: Final = threading.Lock()
        self._waiting = 0
        self._dropped = 0
        self._exporter: Final = _Counted(
            exporter(OTLPSpanExporter, "traces", endpoint, settings), self._on_export
        )
        self._exports: Final = Exports("traces", endpoint)
        self._processor: Final = BatchSpanProcessor(
            self._exporter,
            self._most,
            settings.otel_bsp_schedule_delay,
            min(settings.otel_bsp_max_export_batch_size, self._most),
        )

    @property
    def dropped(self) -> int:
        """Spans that no collector took."""
        return self._dropped

    def put(self, span: ReadableSpan) -> None:
        """Take a span."""
        with self._lock:
            # The processor's own queue would let the oldest go, and tell nobody.
            if self._waiting >= self._most:
                self._dropped += 1
                return
            self._waiting += 1
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what waits, and end; what is not sent in about a second is dropped."""
        # The processor would wait for half a minute. Its thread is a daemon, and ends with the process.
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()
        self._exports.close()
        with self._lock:
            dropped = self._dropped + self._waiting
        if dropped:
            _log.warning(
                "traces.dropped",
                spans=dropped,
                message="no collector took them: does OTEL_EXPORTER_OTLP_ENDPOINT name one that is up and quick enough? Or "
                "keep fewer traces with OTEL_TRACES_SAMPLER",
            )

    def _on_export(self, count: int, taken: bool) -> None:  # noqa: FBT001 - see _Counted
        with self._lock:
            self._waiting -= count
            self._dropped += 0 if taken else count
        self._exports.note(succeeded=taken)


class _Counted(SpanExporter):
    """An exporter whose failures are counted."""

    def __init__(self, exporter: SpanExporter, told: Callable[[int, bool], None]) -> None:
        self._exporter: Final = exporter
        self._told: Final = told
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._told(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Send no more; a request under way is given up."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()
