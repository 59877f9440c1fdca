"""The service itself, as it would run: detector and bridge, each a process with its default settings."""

import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.children import Child, ChildFailedError
from benchmarks.setups import Setup
from bridge.settings import Settings as BridgeSettings
from detector_service.settings import Settings

_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.005


def seconds_to_serving(folder: Path) -> float:
    """Return how long a start takes, from the new process to the line that says that it serves.

    Raises:
        ChildFailedError: it ended, or took longer than a minute.
    """
    began = time.monotonic()
    server, _ = start_detector(folder, log_level="INFO")
    with server:
        while "service.serving" not in server.printed():
            server.check()
            if time.monotonic() - began > _START_SECONDS:
                raise ChildFailedError(f"the service did not serve within {_START_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began


def start(stack: ExitStack, folder: Path, setup: Setup) -> tuple[Child, str, Child, str]:
    """Start both, and wait until they serve; return the detector, the bridge and their addresses."""
    models = {"FACE_MODEL_PATH": str(setup.face), "BODY_MODEL_PATH": str(setup.body)}
    detector, address = start_detector(folder, **models)
    stack.enter_context(detector)
    port = free_port()
    settings = {
        "PORT": str(port),
        "DETECTOR_ADDRESS": address,
        "MAX_FRAME_RATE": "0",  # a single saturated stream is more than a camera
        "LOG_FILE": str(folder / f"bridge-{port}.log"),
    }
    bridge = Child(
        folder,
        ["-m", "bridge"],
        _environment(settings),
        relies_on=[detector],
    )
    stack.enter_context(bridge)
    bridge.wait_for(f"http://127.0.0.1:{port}/health", _START_SECONDS)
    return detector, address, bridge, f"127.0.0.1:{port}"


def start_detector(folder: Path, log_level: str = "WARNING", **settings: str) -> tuple[Child, str]:
    """Start the detector on a free port; return it and its address. It is not ready yet.

    Args:
        folder: its working directory, which holds no .env and no models.
        log_level: what it logs.
        settings: environment variables.
    """
    port = free_port()
    given = {"GRPC_PORT": str(port), "ADMIN_PORT": "off", "LOG_LEVEL": log_level}
    given["LOG_FILE"] = str(folder / f"service-{port}.log")
    child = Child(folder, ["-m", "detector_service"], _environment(given | settings))
    return child, f"127.0.0.1:{port}"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _environment(given: dict[str, str]) -> dict[str, str]:
    """Return this process's environment, with these settings and none that somebody left in it."""
    settings = {name.upper() for name in (*Settings.model_fields, *BridgeSettings.model_fields)}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in settings and not name.startswith("OTEL_")
    }
    return kept | {"HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"} | given
