"""One process that serves: from its settings to its exit code."""

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import structlog

from bridge.addresses import joined
from bridge.server import BridgeServer
from bridge.settings import Settings
from telemetry.readiness import say_ready, say_stopping

if TYPE_CHECKING:  # imported where frames are traced
    from telemetry.tracer import Tracer

_log = structlog.get_logger()


async def serve(
    settings: Settings,
    *,
    worker: int = 0,
    slots_file: int | None = None,
    tracer: "Tracer | None" = None,
) -> int:
    """Serve until told to stop; return the exit code.

    Args:
        settings: as read.
        worker: its number among several; 0 for a process on its own.
        slots_file: shared with the other workers.
        tracer: takes the spans of frames; None: nothing is traced.

    Raises:
        ConfigurationError: the port, or a file, cannot be used.
    """
    stop = _stop_on_signals()
    server = BridgeServer(settings, slots_file=slots_file, tracer=tracer)
    port = await server.listen()
    try:
        _log.info(
            "worker.serving" if worker else "bridge.serving",
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
