"""One process that serves: from its settings to its exit code."""

import asyncio
import os
import signal

import structlog

from bridge.addresses import joined
from bridge.server import BridgeServer
from bridge.settings import Settings
from bridge.sharing import Shared
from telemetry import tracing
from telemetry.metrics import Metrics
from telemetry.readiness import say_ready, say_stopping
from telemetry.settings import OtelSettings

_log = structlog.get_logger()


async def serve(settings: Settings, otel: OtelSettings, shared: Shared | None = None) -> int:
    """Serve until told to stop; return the exit code.

    Args:
        settings: as read.
        otel: likewise.
        shared: with the other workers; None for a process on its own.

    Raises:
        ConfigurationError: the port, or a file, cannot be used.
        OtelError: there is no exporting with what is set.
    """
    stop = _stop_on_signals()
    metrics = Metrics("crowd-bridge", otel)
    tracer = tracing.start("crowd-bridge", otel, metrics)
    server = BridgeServer(settings, metrics, shared, tracer=tracer)
    port = await server.listen()
    try:
        _log.info(
            "bridge.serving" if shared is None else "worker.serving",
            address=joined(settings.host, port),
            tls=settings.tls_cert_file is not None,
            detectors=settings.detector_addresses,
        )
        say_ready()
        await stop.wait()
        say_stopping()
        _log.info("bridge.draining")
    finally:
        await server.drain()
        await asyncio.gather(
            *(asyncio.to_thread(each.close) for each in (metrics, tracer) if each is not None)
        )
        _log.info("bridge.stopped")
    return 0


def _stop_on_signals() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; a second ends the process at once."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, on_signal, each)
    return stop
