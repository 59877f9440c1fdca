"""TensorRT: what is said where it, its GPU or its file is not there; the engine itself was not run."""

import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from detector_service import engines
from detector_service.builds import child
from detector_service.builds.cache import BuildCache
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile
from detector_service.engines import EngineOptions, GpuOptions, Precision, engine_file
from detector_service.errors import ModelError
from tests.servers import ROOT

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
    module.DataType = SimpleNamespace(FLOAT="float", HALF="half", BF16="bf16")
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


@pytest.mark.parametrize(
    ("wanted", "built"),
    [("auto", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp32", "fp32")],
)
def test_it_is_built_with_the_precision_that_is_wanted(
    tensorrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Precision, built: str
) -> None:
    """And kept by it."""
    from detector_service.engines import tensorrt as ours

    orders: list[dict[str, Any]] = []

    def give(_module: str, order: dict[str, Any], folder: Path, _stop: object) -> None:
        orders.append(order)
        (folder / "model.engine").write_bytes(b"engine")

    monkeypatch.setattr(child, "give", give)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"onnx")
    options = replace(OPTIONS, precision=wanted, builds=BuildCache(onnx, "0" * 64))
    engine = ours.built(onnx, options)
    assert engine == ours.built(onnx, options)
    assert engine.parent.name.endswith(f"-Some_GPU-{built}")
    assert [order["precision"] for order in orders] == [built]


def test_nothing_is_exported_for_a_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the weights, not what was made of them."""
    weights = tmp_path / "best.pt"
    weights.write_bytes((ROOT / "models" / "crowd-n.pt").read_bytes())
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "detector_service.engines.tensorrt", raising=False)
    file = ModelFile(weights, "FACE_MODEL_PATH", frozenset({"face"}), embedded=False)
    with pytest.raises(ModelError, match=r"^FACE_MODEL_PATH: \S+best\.pt: .*tensorrt"):
        Detector.load([file], engine="tensorrt", precision="auto", parallel=1, max_input=640)
    assert not (tmp_path / ".cache").exists()
