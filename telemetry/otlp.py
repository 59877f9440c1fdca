"""What becomes of what leaves by OTLP: a collector that takes nothing costs what it would have got, and one line in the log."""

import logging
import threading
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeVar

import grpc
import structlog

from telemetry.settings import OtelError, OtelSettings

_log = structlog.get_logger()

Signal: TypeAlias = Literal["metrics", "traces"]
Exporter = TypeVar("Exporter")

#: Where the SDK says of every attempt that it failed, and why.
_LIBRARY: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_NOBODY: Final = logging.NullHandler()


class _LastWords(logging.Handler):
    """Keeps what the SDK said last, in place of writing it each time."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class Exports:
    """Counts the exports of one signal that came to nothing; says that they fail, and that they no longer do, once each.

    Attributes:
        failed: exports that were lost.
    """

    def __init__(self, signal: Signal, endpoint: str) -> None:
        """Make it.

        Args:
            signal: what leaves.
            endpoint: where it goes.
        """
        self.failed = 0
        self._signal: Final = signal
        self._endpoint: Final = endpoint
        self._lost = 0  # of the failure that lasts
        self._lock: Final = threading.Lock()
        self._why: Final = _LastWords()
        library = logging.getLogger(_LIBRARY)
        library.addHandler(self._why)
        library.addHandler(_NOBODY)  # or what is said after `close` would go to the standard error
        library.propagate = False

    def note(self, *, succeeded: bool) -> None:
        """Count an export; for any thread."""
        with self._lock:
            if not succeeded:
                self.failed += 1
                self._lost += 1
                if self._lost == 1:
                    self._say_failed()
            elif self._lost:
                _log.info("telemetry.exported_again", signal=self._signal, lost=self._lost)
                self._lost = 0

    def close(self) -> None:
        """Listen to the SDK no more; may be called twice."""
        logging.getLogger(_LIBRARY).removeHandler(self._why)

    def _say_failed(self) -> None:
        _log.warning(
            "telemetry.export_failed",
            signal=self._signal,
            message=f"{self._endpoint} takes no {self._signal}; they are lost, nothing else is, and it is tried again. "
            "Is the collector running, and is OTEL_EXPORTER_OTLP_ENDPOINT right?",
            reason=self._why.text,
        )


def exporter(
    make: Callable[..., Exporter], signal: Signal, endpoint: str, settings: OtelSettings
) -> Exporter:
    """Return an exporter of the SDK's; the rest of what applies to it (headers, TLS) it reads itself.

    Args:
        make: its class.
        signal: what leaves by it.
        endpoint: where that goes.
        settings: as read.

    Raises:
        OtelError: a variable that the SDK reads is not acceptable to it.
    """

    def said(name: str) -> object:
        own = getattr(settings, f"otel_exporter_otlp_{signal}_{name}")
        return getattr(settings, f"otel_exporter_otlp_{name}") if own is None else own

    compressed = said("compression") == "gzip"
    try:
        return make(
            endpoint=endpoint,
            timeout=said("timeout"),
            compression=grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression,
        )
    except Exception as error:
        raise OtelError(
            f"OTEL_EXPORTER_OTLP_*: no exporter of {signal} can be made of them: {error}"
        ) from error
