"""``detector-run``: the detector and the bridge under one command.

Both read the same environment and ``.env`` file. Exit codes: 0 after a stop; the code of a process that could not
be started; 2 where a setting is not acceptable; 128 + the signal's number where a second signal cut the stop
short.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bridge import ports
from bridge.addresses import is_anywhere, joined, reached_at
from bridge.certificate import name_in
from bridge.errors import ConfigurationError
from bridge.supervisor import Command, Supervisor

EXIT_CONFIGURATION: Final = 2

_MAX_PORT: Final = 65535


class RunSettings(BaseSettings):
    """What this command must know itself; the two processes check their own."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = "0.0.0.0"  # noqa: S104 - the documented default
    port: int = Field(default=8000, ge=0, le=_MAX_PORT)
    grpc_port: int = Field(default=50051, ge=0, le=_MAX_PORT)
    admin_port: str | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    auth_tokens_file: Path | None = None
    detector_address: str | None = None
    detector_tls: bool = False
    detector_ca_file: Path | None = None
    detector_cert_file: Path | None = None
    detector_server_name: str = ""
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
        settings = _with_ports(settings)
    except OSError as error:
        _complain(f"HOST={settings.host}: no port can be found there: {error.strerror}")
        return EXIT_CONFIGURATION
    try:
        for_bridge = _for_bridge(settings)
    except ConfigurationError as error:
        _complain(str(error))
        return EXIT_CONFIGURATION
    return asyncio.run(_run(settings, for_bridge))


def _with_ports(settings: RunSettings) -> RunSettings:
    """Return the settings with free ports in place of 0, for each process must know the other's.

    The admin port is the detector's alone, which finds a free one itself.

    Raises:
        OSError: HOST has no address, or none of this machine.
    """
    while True:
        grpc_port = settings.grpc_port or ports.free(settings.host)
        port = settings.port or ports.free(settings.host)
        if port != grpc_port or (settings.port and settings.grpc_port):
            break  # where both are set, and are one, the process that comes second says so
    found: dict[str, int | str] = {"grpc_port": grpc_port, "port": port}
    if settings.grpc_port == 0 and settings.admin_port is None:
        found |= {"admin_port": "0"}  # whoever cares for no port may have another service here
    return settings.model_copy(update=found)


def _for_bridge(settings: RunSettings) -> dict[str, str]:
    """Return what the bridge needs to be a client of the detector beside it, besides what is set.

    Raises:
        ConfigurationError: it could not be one.
    """
    given = {"PORT": str(settings.port)}
    if settings.detector_address is None:
        given["DETECTOR_ADDRESS"] = _detector_at(settings)
    if settings.auth_tokens_file and not settings.detector_token_file:
        # The detector asks for one of these tokens, and the bridge is a client like any other.
        given["DETECTOR_TOKEN_FILE"] = str(settings.auth_tokens_file)
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return given
    if not (settings.detector_tls or settings.detector_ca_file):
        # The certificate itself vouches for the detector, whoever signed it.
        given["DETECTOR_CA_FILE"] = str(settings.tls_cert_file)
    elif settings.detector_address is not None:
        return given  # this may be another detector
    if settings.tls_client_ca_file and not settings.detector_cert_file:
        raise ConfigurationError(
            "TLS_CLIENT_CA_FILE is set, so the detector asks the bridge for a certificate, too: set "
            "DETECTOR_CERT_FILE and DETECTOR_KEY_FILE to one that this authority has issued"
        )
    if not settings.detector_server_name:
        # It is called at an address of this machine, which a public certificate does not name. Where the files are
        # none, both processes say so.
        with suppress(OSError):
            given["DETECTOR_SERVER_NAME"] = name_in(settings.tls_cert_file, settings.tls_key_file)
    return given


async def _run(settings: RunSettings, for_bridge: Mapping[str, str]) -> int:
    def ready() -> None:
        _say(_greeting(settings))

    for_detector = {"GRPC_PORT": str(settings.grpc_port)}
    if settings.admin_port is not None:
        for_detector["ADMIN_PORT"] = settings.admin_port

    supervisor = Supervisor(
        [
            [
                Command(
                    "detector-service",
                    [sys.executable, "-m", "detector_service"],
                    for_detector,
                )
            ],
            [Command("detector-bridge", [sys.executable, "-m", "bridge"], for_bridge)],
        ],
        _complain,
        ready,
    )
    return await supervisor.run()


def _detector_at(settings: RunSettings) -> str:
    return joined(reached_at(settings.host), settings.grpc_port)


def _greeting(settings: RunSettings) -> str:
    """Return where both are, as they are reached from this machine."""
    at = joined("localhost" if is_anywhere(settings.host) else settings.host, settings.port)
    secure = "s" if settings.tls_cert_file else ""
    return (
        f"detector  {_detector_at(settings)} (gRPC)\n"
        f"bridge    http{secure}://{at}  ws{secure}://{at}/ws\n"
        "Ctrl-C stops both."
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command line prints


def _complain(line: str) -> None:
    print(f"detector-run: {line}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
