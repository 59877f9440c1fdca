"""Engines, each in its own file and imported only when it is chosen; one more is one more line here."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, NamedTuple, cast

from detector_service.builds.cache import BuildCache
from detector_service.builds.export import Kind
from detector_service.engines.base import Engine
from detector_service.errors import ModelError

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """Whether and how a GPU is used.

    Attributes:
        use: whether one may be used.
        tensorrt: whether models are built for it with TensorRT.
        batch: images that are run on it at once, at most.
        memory_fraction: of its memory, what this process may take.
        graphs: whether what is done with a batch may be recorded, and replayed.
        calibration: a folder of photographs, for "int8".
    """

    use: bool = False
    tensorrt: bool = False
    batch: int = 32
    memory_fraction: float = 0.9
    graphs: bool = True
    calibration: Path | None = None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose of an engine.

    Attributes:
        precision: of the arithmetic; "auto" takes bf16 where the processor has it (docs/performance.md
            says what that costs in accuracy), and fp16 on a GPU.
        parallel: how many requests will be made at once.
        cache: a folder for compiled models; None where there is none.
        builds: where what is built of the model is kept.
        content: the SHA-256 of the file, for who loads it again; None takes any.
        gpu: whether and how a GPU is used.
        max_input: the longest side of the input that will come, in pixels.
        threads: that compute, on a processor; 0: as many as the engine's library likes.
        allow_unsafe: whether weights may be loaded that run code of their own.
        stop: set when the model is not wanted any more, while something is built of it.
    """

    precision: Precision
    parallel: int
    cache: Path | None
    builds: BuildCache | None = None
    content: str | None = None
    gpu: GpuOptions = field(default_factory=GpuOptions)
    max_input: int = 1024
    threads: int = 0
    allow_unsafe: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


class Registration(NamedTuple):
    """An engine's line in the registry.

    Attributes:
        module: where it is.
        factory: its class there.
        loads: the endings of the files that it loads; a folder has the ending "/".
        exports: the kind of files that weights (.pt) are exported to for it, where it loads none itself.
        extra: what of this project to install for it.
    """

    module: str
    factory: str
    loads: tuple[str, ...]
    exports: Kind | None = None
    extra: str = "service"


_REGISTRY: Final = {
    "openvino": Registration(
        "detector_service.engines.openvino", "OpenVINOEngine", (".onnx", ".xml", "/"), "openvino"
    ),
    "torch": Registration(
        "detector_service.engines.torch", "TorchEngine", (".pt",), extra="service,torch"
    ),
    "tensorrt": Registration(
        "detector_service.engines.tensorrt",
        "TensorRTEngine",
        (".engine", ".onnx"),
        "onnx",
        "service,torch,tensorrt",
    ),
}


def suffixes(name: str) -> tuple[str, ...]:
    """Return the endings of the files that this engine runs, be it after an export."""
    entry = _REGISTRY[name]
    return (*entry.loads, ".pt") if entry.exports else entry.loads


def needed_extras(name: str) -> str:
    """Return what of this project to install for this engine."""
    return _REGISTRY[name].extra


def loadable() -> tuple[str, ...]:
    """Return the endings of the files that any engine runs."""
    return tuple(dict.fromkeys(ending for name in _REGISTRY for ending in suffixes(name)))


def needs_export(name: str, ending: str) -> Kind | None:
    """Return the kind of files that a file of this ending is first exported to, or None."""
    entry = _REGISTRY[name]
    return None if ending in entry.loads else entry.exports


def load(name: str, path: Path, options: EngineOptions) -> Engine:
    """Load a model into the engine of this name.

    Raises:
        ModelError: the engine is not installed, the file cannot be loaded, or the options do not suit
            this machine.
    """
    factory = getattr(module(name, path), _REGISTRY[name].factory)
    return cast("Callable[[Path, EngineOptions], Engine]", factory)(path, options)


def module(name: str, path: Path) -> ModuleType:
    """Return the module of the engine of this name, which is to run a file.

    Raises:
        ModelError: it is not installed, or not so that it can be imported; the text has the command that does it.
    """
    entry = _REGISTRY[name]
    try:
        return import_module(entry.module)
    # OSError: a library is missing. RuntimeError: PyTorch and torchvision are not of one build.
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path}: it is to run with the engine '{name}', and that is not installed, or not whole ({error}): "
            f"pip install 'crowd-detector[{entry.extra}]', or set ENGINE=auto"
        ) from error


def available_cores() -> int:
    """Return how many cores this process may use: by its affinity, and by its container's limit."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(min(cores, round(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no such file, or no limit: "max 100000"
        return cores


def default_workers(batch: int = 0) -> int:
    """Return how many workers suit this machine: two for each core, and those that wait for a GPU meanwhile.

    While the model runs, on threads of its own or on a GPU, a worker sleeps; another decodes and answers meanwhile.
    docs/performance.md has the measurement, for processors; for GPUs there is none.

    Args:
        batch: images that are run on a GPU at once; 0 where there is none.
    """
    return 2 * available_cores() + batch
