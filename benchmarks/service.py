"""The service itself, as it would run: a process of its own with its default settings."""

import os
import socket
from pathlib import Path

from benchmarks.children import Child
from detector_service.settings import Settings


def start(folder: Path) -> tuple[Child, str]:
    """Start it on a free port; give it and its address. It is not ready yet.

    Args:
        folder: its working directory, which holds no .env and no models.
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
        "LOG_LEVEL": "WARNING",
        "LOG_FILE": str(folder / f"service-{port}.log"),
    }
    return Child(folder, ["-m", "detector_service"], environment), f"127.0.0.1:{port}"
