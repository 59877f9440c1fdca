"""Which engine runs a file, and what is said of why; a GPU that is left alone is said with its cure."""

import importlib
from pathlib import Path

import pytest

from detector_service import engines
from detector_service.engines import GpuOptions, selection
from detector_service.engines.selection import Machine, look, select
from detector_service.errors import ModelError

PATH = Path("m.pt")
ON, OFF = GpuOptions(use=True), GpuOptions(use=False)
BUILT = GpuOptions(use=True, tensorrt=True)
NO_GPU = Machine(torch=True, tensorrt=True)
BARE = Machine(gpu=True)
CUDA = Machine(gpu=True, torch=True, torch_on_gpu=True)
ALL = Machine(gpu=True, torch=True, torch_on_gpu=True, tensorrt=True)
WRONG_BUILD = Machine(gpu=True, torch=True)


@pytest.mark.parametrize(
    ("ending", "options", "machine", "engine", "words"),
    [
        (".pt", OFF, ALL, "openvino", "USE_GPU is off"),
        (".pt", ON, NO_GPU, "openvino", "USE_GPU is on, but there is no NVIDIA GPU here"),
        (".onnx", BUILT, NO_GPU, "openvino", "there is no NVIDIA GPU here"),
        (".pt", ON, CUDA, "torch", "PyTorch can use it"),
        (".pt", ON, ALL, "torch", "PyTorch can use it"),
        (".pt", BUILT, ALL, "tensorrt", "TENSORRT_ENABLED is on"),
        (".onnx", BUILT, ALL, "tensorrt", "TENSORRT_ENABLED is on"),
        (".engine", ON, ALL, "tensorrt", "only TensorRT runs .engine files"),
        (".pt", ON, BARE, "openvino", "pip install 'crowd-detector[service,torch]'"),
        (".pt", ON, WRONG_BUILD, "openvino", "a build of PyTorch for CUDA"),
        (".pt", BUILT, CUDA, "torch", "pip install 'crowd-detector[service,torch,tensorrt]'"),
        (".onnx", BUILT, CUDA, "openvino", "pip install 'crowd-detector[service,torch,tensorrt]'"),
        (".onnx", ON, ALL, "openvino", "PyTorch does not run .onnx files"),
        ("/", BUILT, ALL, "openvino", "PyTorch does not run / files"),
    ],
)
def test_the_machine_and_the_file_decide(
    ending: str, options: GpuOptions, machine: Machine, engine: str, words: str
) -> None:
    """TensorRT where it is asked for and there, else PyTorch on a GPU, else OpenVINO; one sentence says why."""
    chosen = select("auto", PATH, ending, options, machine)
    assert chosen.engine == engine
    assert words in chosen.reason
    assert "\n" not in chosen.reason


@pytest.mark.parametrize("engine", ["openvino", "torch", "tensorrt"])
def test_what_is_asked_for_is_taken(engine: str) -> None:
    """Whatever the machine has; what is missing is told when it is loaded."""
    ending = engines.suffixes(engine)[-1]
    assert select(engine, PATH, ending, OFF, Machine()).engine == engine


def test_an_engine_that_does_not_run_the_file_is_refused() -> None:
    """With what it does run."""
    with pytest.raises(ModelError, match=r"m\.onnx: ENGINE=torch runs \.pt .*set ENGINE=auto"):
        select("torch", Path("m.onnx"), ".onnx", ON, ALL)


def test_a_pytorch_that_is_not_whole_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a library of CUDA's is missing; the processor serves."""

    def broken(_: str) -> None:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(selection, "_GPUS", (("/", "proc"),))
    monkeypatch.setattr(importlib, "import_module", broken)
    machine = look(ON)
    assert (machine.gpu, machine.torch_on_gpu) == (True, False)


def test_looking_imports_nothing_where_no_gpu_may_be_used() -> None:
    """A service that never uses PyTorch never imports it."""
    import subprocess
    import sys

    program = (
        "import sys; from detector_service.engines import GpuOptions, selection\n"
        "machine = selection.look(GpuOptions(use=False))\n"
        "print(machine.gpu, machine.torch_on_gpu, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]
    assert look(GpuOptions(use=False)).torch
