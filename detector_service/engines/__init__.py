"""Engines, each in its own file and imported only when it is chosen; one more is one more line here."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, cast

from detector_service.engines.base import Engine

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose of an engine.

    Attributes:
        precision: of the arithmetic; "auto" takes bf16 where the processor has it (docs/performance.md
            says what that costs in accuracy).
        parallel: how many requests will run at once.
        cache: a folder for compiled models.
    """

    precision: Precision
    parallel: int
    cache: Path


#: Name → module and class, and the endings of the files it loads (a folder has the ending "/").
_REGISTRY: Final = {
    "openvino": ("detector_service.engines.openvino", "OpenVINOEngine", (".onnx", ".xml", "/")),
}


def suffixes(name: str) -> tuple[str, ...]:
    """Give the endings of the files that this engine loads."""
    return _REGISTRY[name][2]


def load(name: str, path: Path, options: EngineOptions) -> Engine:
    """Load a model into the engine of this name.

    Raises:
        ModelError: the file cannot be loaded, or the options do not suit this machine.
    """
    module, factory, _ = _REGISTRY[name]
    make = cast("Callable[[Path, EngineOptions], Engine]", getattr(import_module(module), factory))
    return make(path, options)


def default_workers() -> int:
    """Give how many workers suit this machine: one for each core that this process may use."""
    return max(len(os.sched_getaffinity(0)), 1)
