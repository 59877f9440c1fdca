"""The service itself, as it would run: a process of its own with its default settings."""

import os
import socket
import time
from pathlib import Path
from typing import Final

from benchmarks.children import Child, ChildFailedError
from detector_service.settings import Settings

_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.005


def seconds_to_serving(folder: Path) -> float:
    """Return how long a start takes, from the new process to the line that says that it serves.

    Raises:
        ChildFailedError: it ended, or took longer than a minute.
    """
    began = time.monotonic()
    server, _ = start(folder, log_level="INFO")
    with server:
        while "service.serving" not in server.printed():
            server.check()
            if time.monotonic() - began > _START_SECONDS:
                raise ChildFailedError(f"the service did not serve within {_START_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began


def start(folder: Path, log_level: str = "WARNING") -> tuple[Child, str]:
    """Start it on a free port; return it and its address. It is not ready yet.

    Args:
        folder: its working directory, which holds no .env and no models.
        log_level: what it logs.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {name.upper() for name in Settings.model_fields}
    environment = {
        name: value for name, value in os.environ.items() if name.upper() not in settings
    }
    environment |= {
        "HOST": "127.0.0.1",
        "GRPC_PORT": str(port),
        "LOG_LEVEL": log_level,
        "LOG_FILE": str(folder / f"service-{port}.log"),
    }
    return Child(folder, ["-m", "detector_service"], environment), f"127.0.0.1:{port}"
