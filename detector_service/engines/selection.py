"""Which engine runs a file on this machine, and why."""

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from detector_service import engines
from detector_service.engines import GpuOptions
from detector_service.errors import ModelError

#: Where the driver of NVIDIA's GPUs shows them.
_GPUS: Final = (("/proc/driver/nvidia/gpus", "*"), ("/dev", "nvidia[0-9]*"))


@dataclass(frozen=True, slots=True)
class Machine:
    """What is there to run models.

    Attributes:
        gpu: whether there is one of NVIDIA's.
        torch: whether PyTorch is installed.
        torch_on_gpu: whether it can use the GPU.
        tensorrt: whether TensorRT is installed.
    """

    gpu: bool = False
    torch: bool = False
    torch_on_gpu: bool = False
    tensorrt: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """An engine, and a sentence that says why it is that one."""

    engine: str
    reason: str


def look(options: GpuOptions) -> Machine:
    """Return what there is; PyTorch is imported only where there is a GPU that may be used."""
    gpu = options.use and any(any(Path(place).glob(name)) for place, name in _GPUS)
    torch = find_spec("torch") is not None and find_spec("ultralytics") is not None
    return Machine(
        gpu=gpu,
        torch=torch,
        torch_on_gpu=gpu and torch and _torch_sees_it(),
        tensorrt=find_spec("tensorrt") is not None,
    )


def _torch_sees_it() -> bool:
    try:
        return bool(importlib.import_module("torch").cuda.is_available())
    except (ImportError, OSError, RuntimeError):  # it is there, and not whole
        return False


def select(
    wanted: str, path: Path, ending: str, options: GpuOptions, machine: Machine
) -> Selection:
    """Choose the engine for a file.

    Args:
        wanted: an engine's name, or "auto".
        path: the file, for messages.
        ending: of its name; "/" for a folder.
        options: whether and how a GPU is used.
        machine: what there is.

    Raises:
        ModelError: the engine that is wanted does not run such files, or none does here.
    """
    if wanted != "auto":
        if ending not in engines.suffixes(wanted):
            raise ModelError(
                f"{path}: ENGINE={wanted} runs {', '.join(engines.suffixes(wanted))} (/ stands for a folder); "
                "set ENGINE=auto, or give the model as one of these"
            )
        return Selection(wanted, f"ENGINE={wanted}")
    if ending in engines.suffixes("openvino"):
        return _on_gpu(ending, options, machine)
    return Selection("tensorrt", f"only TensorRT runs {ending} files")


def _on_gpu(ending: str, options: GpuOptions, machine: Machine) -> Selection:
    """Choose an engine for the GPU, or OpenVINO and say why the GPU is left alone."""
    built = options.tensorrt and ending in engines.suffixes("tensorrt")
    engine = "tensorrt" if built else "torch"
    obstacle = _obstacle(engine, ending, options, machine)
    if built and not machine.tensorrt and _obstacle("torch", ending, options, machine) is None:
        return Selection(
            "torch",
            "TENSORRT_ENABLED is on, but TensorRT is not installed: "
            f"pip install 'crowd-detector[{engines.needed_extras(engine)}]'; PyTorch uses the GPU",
        )
    if obstacle is not None:
        return Selection("openvino", f"{obstacle}; the processor is used")
    return Selection(
        engine,
        "there is a GPU, and TENSORRT_ENABLED is on"
        if built
        else "there is a GPU, and PyTorch can use it",
    )


def _obstacle(engine: str, ending: str, options: GpuOptions, machine: Machine) -> str | None:
    """Return why a GPU's engine cannot run a file here, and the cure; None where it can."""
    if not options.use:
        return "USE_GPU is off"
    if not machine.gpu:
        return "USE_GPU is on, but there is no NVIDIA GPU here"
    if ending not in engines.suffixes(engine):
        return (
            f"the GPU is not used, for PyTorch does not run {ending} files: give the weights (.pt)"
        )
    if not machine.torch or (engine == "tensorrt" and not machine.tensorrt):
        what = "PyTorch" if engine == "torch" else "TensorRT or PyTorch"
        return (
            f"the GPU is not used, for {what} is not installed: "
            f"pip install 'crowd-detector[{engines.needed_extras(engine)}]'"
        )
    if not machine.torch_on_gpu:
        return (
            "the GPU is not used, for PyTorch cannot use it: install a build of PyTorch for CUDA, and a "
            "driver that is new enough"
        )
    return None
