"""Those that the service is held against: which program each is, and what it needs."""

import importlib.util
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from benchmarks.children import Child
from benchmarks.service import free_port
from benchmarks.setups import Setup

_START_SECONDS: Final = 120.0
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Peer:
    """A server for frames that runs Ultralytics.

    Attributes:
        name: as the results call it.
        module: of this package, which serves.
        transport: how frames are sent to it.
        ready: the path that answers with 200 once it serves.
        packages: what has to be installed.
        memory_gib: what has to be free.
        options: of the program.
        all_loads: whether it is measured at more than what its ratio is taken from.
    """

    name: str
    module: str
    transport: str
    ready: str
    packages: tuple[str, ...]
    memory_gib: float
    options: tuple[str, ...] = ()
    all_loads: bool = True

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""
        lacking = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if lacking:
            return f"not installed: {', '.join(lacking)}"
        free = psutil.virtual_memory().available / _GIB
        if free < self.memory_gib:
            return f"{free:.1f} GiB of memory are free, and it may take {self.memory_gib:g}"
        return None

    def start(self, folder: Path, setup: Setup) -> tuple[Child, str]:
        """Start it; return it and its address. `wait` says when it is ready.

        Args:
            folder: its working directory.
            setup: what it serves.
        """
        port = free_port()
        arguments = [str(port), str(setup.face_weights), str(setup.body_weights), *self.options]
        child = Child(
            folder, ["-m", f"benchmarks.{self.module}", *arguments], os.environ | quiet(folder)
        )
        return child, f"127.0.0.1:{port}"

    def wait(self, child: Child, address: str) -> None:
        """Wait until it serves.

        Raises:
            ChildFailedError: it does not.
        """
        child.wait_for(f"http://{address}{self.ready}", _START_SECONDS)


def quiet(folder: Path) -> dict[str, str]:
    """Return variables that keep libraries from asking anybody, and their settings out of the home folder."""
    return {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


PROTOTYPE: Final = Peer(
    "prototype", "prototype", "ws-json", "/health", ("starlette", "uvicorn", "ultralytics"), 2
)
LITSERVE: Final = Peer(
    "LitServe",
    "litserve_batching",
    "http-json",
    "/health",
    ("litserve", "ultralytics"),
    2,
    all_loads=False,
)
LITSERVE_TUNED: Final = replace(
    LITSERVE,
    name="LitServe, a worker a core",
    memory_gib=3,
    options=("--worker-a-core",),
    all_loads=True,
)
RAY: Final = Peer("Ray Serve", "ray_batching", "http-binary", "/predict", ("ray", "ultralytics"), 5)
PEERS: Final = (PROTOTYPE, LITSERVE, LITSERVE_TUNED, RAY)
