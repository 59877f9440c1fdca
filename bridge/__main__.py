"""``detector-bridge``: reads the settings, serves until it is told to stop.

Exit codes: 0 after a drain; 2 where a setting is not acceptable; 128 + the signal's number where a second
signal cut the drain short; with several workers, the code of one that could not be started.
"""

import argparse
import asyncio
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from bridge import ports
from bridge.addresses import joined
from bridge.connections import new_slots_file
from bridge.errors import ConfigurationError
from bridge.settings import Settings, load_settings
from bridge.sharing import Shared, new_page_sockets
from bridge.supervisor import Command, Supervisor
from telemetry import logs
from telemetry.settings import OtelError, load_otel_settings

EXIT_CONFIGURATION: Final = 2

_log = structlog.get_logger()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="detector-bridge",
        description="Speaks WebSocket events and HTTP to browsers, and gRPC to the detector. Settings are "
        "environment variables, or lines of a .env file; docs/bridge.md lists them.",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the effective settings and exit"
    )
    parser.add_argument(
        "--version", action="version", version=f"crowd-detector {version('crowd-detector')}"
    )
    # How the process that watches workers starts them.
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--slots-file", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--page-sockets", type=int, nargs="*", default=(), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if options.print_config:
            print(settings.described())  # noqa: T201 - what was asked for
            return 0
        otel = load_otel_settings()
        _configure_log(settings, options.worker)
        if settings.bridge_workers > 1 and not options.worker:
            return asyncio.run(_watch_workers(settings))
        from bridge.worker import serve  # noqa: PLC0415 - who watches workers needs no gRPC

        shared = Shared(options.worker, options.slots_file, options.page_sockets)
        return asyncio.run(serve(settings, otel, shared if options.worker else None))
    except (ConfigurationError, OtelError, logs.LogFileError) as error:
        for line in str(error).splitlines():
            print(f"detector-bridge: {line}", file=sys.stderr)  # noqa: T201 - before or beside the log
        return EXIT_CONFIGURATION


def log_path(log_file: Path, worker: int = 0) -> Path:
    """Return where a process of the bridge logs: beside the detector's file, for two writers would spoil one.

    Args:
        log_file: LOG_FILE.
        worker: a worker's number, from 1; 0 for the only process, or the one that watches workers.
    """
    end = f".bridge.{worker}" if worker else ".bridge"
    return log_file.with_name(f"{log_file.stem}{end}{log_file.suffix}")


def _configure_log(settings: Settings, worker: int) -> None:
    path = log_path(settings.log_file, worker)
    logs.configure(path, level=settings.log_level, debug=settings.debug)
    # It has two lines to say of each connection; what matters of one the bridge says itself.
    library = logging.getLogger("websockets.server")
    library.setLevel(logging.ERROR)
    library.addFilter(_is_a_fault_of_ours)


def _is_a_fault_of_ours(record: logging.LogRecord) -> bool:
    """Return whether the WebSocket library's error is more than a client that did not shake hands."""
    return record.getMessage() != "opening handshake failed"


async def _watch_workers(settings: Settings) -> int:
    """Run several workers on one port; the kernel shares new connections out among them (SO_REUSEPORT)."""
    slots_file = new_slots_file()
    sockets = new_page_sockets(settings.bridge_workers)
    descriptors = [each.fileno() for each in sockets]
    with ports.held(settings.host, settings.port) as port:
        workers = [
            Command(
                f"worker-{number}",
                [
                    sys.executable,
                    "-m",
                    "bridge",
                    "--worker",
                    str(number),
                    "--slots-file",
                    str(slots_file),
                    "--page-sockets",
                    *map(str, descriptors),
                ],
                {"PORT": str(port)},
                (slots_file, *descriptors),
            )
            for number in range(1, settings.bridge_workers + 1)
        ]

        def ready() -> None:
            _log.info(
                "bridge.serving",
                address=joined(settings.host, port),
                tls=settings.tls_cert_file is not None,
                workers=settings.bridge_workers,
            )

        def say(what: str) -> None:
            _log.error("worker.ended", message=what)

        return await Supervisor([workers], say, ready).run()


if __name__ == "__main__":
    sys.exit(main())
