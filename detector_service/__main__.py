"""``detector-service``: reads the settings, serves until it is told to stop.

Exit codes: 0 after a drain; 1 where a model cannot be loaded; 2 where a setting is not acceptable; 70 where the
engine is stuck, or always fails; 128 + the signal's number where a second signal cut the drain short.
"""

import argparse
import asyncio
import logging
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from detector_service.addresses import is_local, joined
from detector_service.builds.cache import BuildStopped
from detector_service.errors import ConfigurationError, ModelError
from detector_service.server import DetectorServer
from detector_service.settings import Settings, load_settings
from telemetry import logs, tracing
from telemetry.metrics import Metrics
from telemetry.readiness import say_ready, say_stopping
from telemetry.settings import OtelError, OtelSettings, load_otel_settings

if TYPE_CHECKING:  # imported where frames are traced
    from detector_service.rpc.frame_trace import Traces
    from telemetry.tracer import Tracer

_log = structlog.get_logger()

EXIT_MODEL: Final = 1
EXIT_CONFIGURATION: Final = 2
EXIT_STUCK: Final = os.EX_SOFTWARE
#: What a stuck process takes to end, at most: for the calls under way, and for all.
_LAST_CALLS_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 5.0
DEFAULT_PORT: Final = 50051  # the command line's too


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="detector-service",
        description="Finds faces and people in camera frames, and serves that over gRPC. "
        "Settings are environment variables, or lines of a .env file; docs/configuration.md lists them.",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the effective settings and exit"
    )
    parser.add_argument(
        "--version", action="version", version=f"crowd-detector {version('crowd-detector')}"
    )
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if options.print_config:
            print(settings.described())  # noqa: T201 - what was asked for
            return 0
        otel = load_otel_settings()
        logs.configure(settings.log_file, level=settings.log_level, debug=settings.debug)
        return asyncio.run(_serve(settings, otel))
    except (ConfigurationError, OtelError, logs.LogFileError) as error:
        return _fail(error, EXIT_CONFIGURATION)
    except ModelError as error:
        return _fail(error, EXIT_MODEL)


def _fail(error: Exception, code: int) -> int:
    for line in str(error).splitlines():
        print(f"detector-service: {line}", file=sys.stderr)  # noqa: T201 - before or beside the log
    return code


async def _serve(settings: Settings, otel: OtelSettings) -> int:
    stop, hang_up = _on_signals()
    # Where nobody could read them, nothing is measured.
    told = settings.admin_port != "off" or otel.metrics_endpoint is not None
    metrics = Metrics("crowd-detector", otel) if told else None
    tracer = tracing.start("crowd-detector", otel, metrics)
    server = DetectorServer(settings, metrics, _traces(tracer))
    watchdog = asyncio.create_task(_end_where_stuck(server, metrics, tracer))
    try:
        port = await server.listen()
        loading = asyncio.create_task(server.load())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _log.info(
                "service.serving",
                address=joined(settings.host, port),
                tls=settings.tls_cert_file is not None,
            )
            if sys.stderr.isatty():
                print(_greeting(settings, port), file=sys.stderr)  # noqa: T201 - for whoever looks on
            say_ready()
            loading = asyncio.create_task(_reload(server, hang_up))
        await stopped
        say_stopping()
        loading.cancel()
        await asyncio.wait({loading})
        _log.info("service.draining")
        return 0
    finally:
        await server.drain()
        if server.stuck.is_set():
            await watchdog  # which ends the process
        watchdog.cancel()
        await _close(metrics, tracer)
        _log.info("service.stopped")


async def _close(*exporters: "Metrics | Tracer | None") -> None:
    """Send what they have yet to tell."""
    await asyncio.gather(*(asyncio.to_thread(each.close) for each in exporters if each))


async def _end_where_stuck(server: DetectorServer, *exporters: "Metrics | Tracer | None") -> None:
    """End the process where only a new one helps: nothing else frees the thread that a stuck engine holds, and nothing may wait for it."""
    await server.stuck.wait()
    last_resort = threading.Timer(_LAST_SECONDS, os._exit, [EXIT_STUCK])
    last_resort.daemon = True
    last_resort.start()
    say_stopping()
    with suppress(Exception):
        async with asyncio.timeout(2 * _LAST_CALLS_SECONDS):
            await server.drain(_LAST_CALLS_SECONDS)
            await _close(*exporters)  # of all that they could tell, what led to this is wanted most
    logging.shutdown()
    os._exit(EXIT_STUCK)


def _traces(tracer: "Tracer | None") -> "Traces | None":
    if tracer is None:
        return None
    from detector_service.rpc.frame_trace import Traces  # noqa: PLC0415 - with OpenTelemetry

    return Traces(tracer)


def _greeting(settings: Settings, port: int) -> str:
    """Return what to try next: the command that lies beside this one, and the flags that it needs."""
    command = Path(sys.executable).with_name("detector")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    local = is_local(settings.host)
    at = joined("localhost" if local else settings.host, port)
    flags = "" if local and port == DEFAULT_PORT else f" --server {shlex.quote(at)}"
    flags += " --tls-ca FILE" if settings.tls_cert_file is not None else ""
    flags += " --token-file FILE" if settings.auth_tokens_file is not None else ""
    return (
        f"\nServing on port {port}; Ctrl-C stops it. Try, in another terminal:\n\n"
        f"  {command} detect PHOTO{flags}\n"
        f"  {command} stream VIDEO --watch{flags}    # 0 is a camera\n"
    )


async def _reload(server: DetectorServer, hang_up: asyncio.Event) -> None:
    """Reload the models each time that it is asked for; what was asked for meanwhile is done once."""
    while True:
        await hang_up.wait()
        hang_up.clear()
        with suppress(ModelError, BuildStopped):  # the log has it
            await server.reload()


def _on_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return an event that the first SIGTERM or SIGINT sets, and one that each SIGHUP sets.

    A second SIGTERM or SIGINT ends the process at once. On a terminal SIGHUP says that the terminal is
    gone; it keeps its usual effect there.
    """
    stop, hang_up = asyncio.Event(), asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, on_signal, each)
    if sys.stdin is None or not sys.stdin.isatty():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up.set)
    return stop, hang_up


if __name__ == "__main__":
    sys.exit(main())
