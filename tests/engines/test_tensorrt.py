"""TensorRT: what is said where it, its GPU or its file is not there; the engine itself was not run."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from detector_service import engines
from detector_service.engines import EngineOptions, GpuOptions, engine_file
from detector_service.errors import ModelError

OPTIONS = EngineOptions("auto", 1, None, gpu=GpuOptions(use=True, tensorrt=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An engine file, of nothing."""
    file = tmp_path / "m.engine"
    names = {0: "person", 1: "face"}
    file.write_bytes(engine_file.join({"names": names, "end2end": False}, b"engine"))
    return file


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for the library, which takes no engine for its own."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = "10.0"
    module.__spec__ = ModuleSpec("tensorrt", None)
    module.Logger = type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None})
    module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: None)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.delitem(sys.modules, "detector_service.engines.tensorrt", raising=False)
    yield module
    sys.modules.pop("detector_service.engines.tensorrt", None)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_a_library_that_is_missing_is_told_how_to_be_had(path: Path) -> None:
    """By the command."""
    with pytest.raises(
        ModelError, match=r"m\.engine: .*pip install 'crowd-detector\[service,torch,tensorrt\]'"
    ):
        engines.load("tensorrt", path, OPTIONS)


def test_a_gpu_that_is_missing_is_named(
    tensorrt: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what else can be given."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"m\.engine: TensorRT needs a GPU.*ENGINE=auto"):
        engines.load("tensorrt", path, OPTIONS)


def test_an_engine_for_another_gpu_is_named(
    tensorrt: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the GPU and the TensorRT that are here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *_: None)
    with pytest.raises(
        ModelError, match=r"m\.engine: .*another GPU or another TensorRT than Some GPU and 10\.0"
    ):
        engines.load("tensorrt", path, OPTIONS)
    path.write_bytes(b"bare engine")
    with pytest.raises(ModelError, match=r"m\.engine: no TensorRT engine with Ultralytics"):
        engines.load("tensorrt", path, OPTIONS)
