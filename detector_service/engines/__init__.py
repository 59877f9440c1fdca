"""Engines, each in its own file and imported only when it is chosen; one more is one more line here."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from detector_service.builds.export import Kind
from detector_service.engines.base import Engine

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose of an engine.

    Attributes:
        precision: of the arithmetic; "auto" takes bf16 where the processor has it (docs/performance.md
            says what that costs in accuracy).
        parallel: how many requests will be made at once.
        cache: a folder for compiled models; None where there is none.
    """

    precision: Precision
    parallel: int
    cache: Path | None


_Entry: TypeAlias = tuple[str, str, tuple[str, ...], Kind | None]

#: Name → module and class; the endings of the files it loads (a folder has the ending "/"); and the
#: kind of files that weights (.pt) are exported to for it, where it loads none itself.
_REGISTRY: Final[dict[str, _Entry]] = {
    "openvino": (
        "detector_service.engines.openvino",
        "OpenVINOEngine",
        (".onnx", ".xml", "/"),
        "openvino",
    ),
}


def suffixes(name: str) -> tuple[str, ...]:
    """Return the endings of the files that this engine runs, be it after an export."""
    _, _, loads, exports = _REGISTRY[name]
    return (*loads, ".pt") if exports else loads


def needs_export(name: str, ending: str) -> Kind | None:
    """Return the kind of files that a file of this ending is first exported to, or None."""
    _, _, loads, exports = _REGISTRY[name]
    return None if ending in loads else exports


def load(name: str, path: Path, options: EngineOptions) -> Engine:
    """Load a model into the engine of this name.

    Raises:
        ModelError: the file cannot be loaded, or the options do not suit this machine.
    """
    module, factory, _, _ = _REGISTRY[name]
    make = cast("Callable[[Path, EngineOptions], Engine]", getattr(import_module(module), factory))
    return make(path, options)


def available_cores() -> int:
    """Return how many cores this process may use: by its affinity, and by its container's limit."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(min(cores, round(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no such file, or no limit: "max 100000"
        return cores


def default_workers() -> int:
    """Return how many workers suit this machine: three for each core.

    While the model runs, on threads of its own, a worker sleeps; others decode and answer meanwhile.
    docs/performance.md has the measurement.
    """
    return 3 * available_cores()
