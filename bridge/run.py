"""``detector-run``: the detector and the bridge under one command.

Both read the same environment and ``.env`` file. Exit codes: 0 after a stop; the code of a process that could not
be started; 2 where a setting is not acceptable; 128 + the signal's number where a second signal cut the stop
short.
"""

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bridge.supervisor import Command, Supervisor

EXIT_CONFIGURATION: Final = 2

_MAX_PORT: Final = 65535
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with


class RunSettings(BaseSettings):
    """What this command must know itself; the two processes check their own."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = "0.0.0.0"  # noqa: S104 - the documented default
    port: int = Field(default=8000, ge=0, le=_MAX_PORT)
    grpc_port: int = Field(default=50051, ge=0, le=_MAX_PORT)
    tls_cert_file: Path | None = None
    auth_tokens_file: Path | None = None
    detector_address: str | None = None
    detector_tls: bool = False
    detector_ca_file: Path | None = None
    detector_token_file: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argparse.ArgumentParser(
        prog="detector-run",
        description="Runs the detector and the bridge until it is told to stop, and starts again what "
        "crashes. Settings are environment variables, or lines of a .env file; docs/configuration.md and "
        "docs/bridge.md list them.",
    ).parse_args(arguments)
    try:
        settings = RunSettings()
    except ValidationError as error:
        for item in error.errors():
            _complain(f"{str(item['loc'][0]).upper()}={item['input']}: {item['msg']}")
        return EXIT_CONFIGURATION
    try:
        return asyncio.run(_run(settings))
    except OSError as error:
        _complain(f"HOST={settings.host}: no port can be found there: {error.strerror}")
        return EXIT_CONFIGURATION


async def _run(settings: RunSettings) -> int:
    grpc_port = settings.grpc_port or _free_port(settings.host)
    port = settings.port or _free_port(settings.host)
    here = _ANYWHERE.get(settings.host, settings.host)
    detector_at = f"[{here}]:{grpc_port}" if ":" in here else f"{here}:{grpc_port}"
    for_bridge = {"PORT": str(port)}
    if settings.detector_address is None:
        for_bridge["DETECTOR_ADDRESS"] = detector_at
    if settings.auth_tokens_file and not settings.detector_token_file:
        # The detector asks for one of these tokens, and the bridge is a client like any other.
        for_bridge["DETECTOR_TOKEN_FILE"] = str(settings.auth_tokens_file)
    if settings.tls_cert_file and not (settings.detector_tls or settings.detector_ca_file):
        # The certificate itself vouches for the detector, whoever signed it.
        for_bridge["DETECTOR_CA_FILE"] = str(settings.tls_cert_file)
    secure = "s" if settings.tls_cert_file else ""
    shown = "localhost" if settings.host in _ANYWHERE else here

    def ready() -> None:
        _say(f"detector  {detector_at} (gRPC)")
        _say(f"bridge    http{secure}://{shown}:{port}  ws{secure}://{shown}:{port}/ws")
        _say("Ctrl-C stops both.")

    supervisor = Supervisor(
        [
            [
                Command(
                    "detector-service",
                    [sys.executable, "-m", "detector_service"],
                    {"GRPC_PORT": str(grpc_port)},
                )
            ],
            [Command("detector-bridge", [sys.executable, "-m", "bridge"], for_bridge)],
        ],
        _complain,
        ready,
    )
    return await supervisor.run()


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command line prints


def _complain(line: str) -> None:
    print(f"detector-run: {line}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
