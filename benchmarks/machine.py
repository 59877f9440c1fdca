"""What the figures were measured on, with which versions, and who else was at work there."""

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

_PACKAGES: Final = (
    "crowd-detector",
    "fastapi",
    "grpcio",
    "litserve",
    "numpy",
    "opencv-python-headless",
    "opentelemetry-sdk",
    "openvino",
    "pillow",
    "protobuf",
    "ray",
    "simplejpeg",
    "starlette",
    "torch",
    "ultralytics-opencv-headless",
    "uvicorn",
    "websockets",
)
_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


def describe() -> dict[str, Any]:
    """Describe this machine."""
    fields = dict(_cpu_fields())
    flags = fields.get("flags", "").split()
    return {
        "cpu": fields.get("model name", platform.machine()),
        "cpu_family_model": f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}",
        "cores": cores(),
        "flags": {flag: flag in flags for flag in _FLAGS},
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter and that are there."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


class Others:
    """How much of the machine went to others than this process and its children, from its making on."""

    def __init__(self) -> None:
        self._began: Final = time.monotonic()
        self._before: Final = _others_cpu_seconds()

    def percent(self) -> float:
        """Return the share so far: of all cores, in percent.

        It may be a little below zero: the kernel keeps the machine's time and that of processes by different clocks.
        """
        took = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return 100 * (_others_cpu_seconds() - self._before) / took


def _others_cpu_seconds() -> float:
    machine = psutil.cpu_times()
    busy = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    this = psutil.Process()
    ours = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(busy - sum(times.user + times.system for times in ours))


def _cpu_fields() -> list[tuple[str, str]]:
    """Return what the kernel says of the first core."""
    first = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in pairs]
