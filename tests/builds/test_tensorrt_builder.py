"""What TensorRT is told when it builds an engine; a stand-in takes it down, and TensorRT itself was not run."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest

from detector_service.detection.model_files import embedded_model
from detector_service.engines import engine_file
from detector_service.errors import ModelError
from tests.servers import ROOT


class Library:
    """Stands in for TensorRT: every object of it at once."""

    def __init__(self) -> None:
        self.input = [-1, 3, -1, -1]
        self.flags: list[str] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.shown: list[int] = []
        self.int8_calibrator: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("create_"):
            return lambda *_: self
        return lambda *_, **__: True

    def get_input(self, _: int) -> Any:
        return SimpleNamespace(name="images", shape=self.input)

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_shape(self, _name: str, **shapes: tuple[int, ...]) -> None:
        self.shapes = shapes

    def build_serialized_network(self, *_: object) -> bytes:
        if self.int8_calibrator is not None:
            self.shown = [len(batch) for batch in self.int8_calibrator._batches]
        return b"engine"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """TensorRT's stand-in, installed."""
    library, module = Library(), ModuleType("tensorrt")
    names: dict[str, Any] = {
        "Logger": type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None}),
        "Builder": lambda _: library,
        "OnnxParser": lambda *_: library,
        "MemoryPoolType": SimpleNamespace(WORKSPACE=1),
        "BuilderFlag": SimpleNamespace(FP16="fp16", BF16="bf16", INT8="int8"),
        "IInt8EntropyCalibrator2": object,
    }
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    yield library
    sys.modules.pop("detector_service.builds.tensorrt_builder", None)


def build(folder: Path, **order: Any) -> dict[str, str]:
    """Have the shipped model built; return what the engine says of itself."""
    builder = import_module("detector_service.builds.tensorrt_builder")
    usual = {"source": embedded_model(), "batch": 8, "longest": 1024, "precision": "fp16"}
    builder._build({**usual, "workspace": 1, "photographs": [], "folder": folder} | order)
    file = folder / "model.engine"
    metadata, engine = engine_file.split(file.read_bytes(), file)
    assert engine == b"engine"
    return metadata


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", []), ("fp16", ["fp16"]), ("bf16", ["bf16"])],
)
def test_it_is_built_for_what_will_come(
    library: Library, tmp_path: Path, precision: str, flags: list[str]
) -> None:
    """Batches of up to so many images, of any size up to that which the model was made for."""
    metadata = build(tmp_path, precision=precision)
    assert (metadata["precision"], library.flags) == (precision, flags)
    assert library.shapes["min"] == (1, 3, 32, 32)
    assert library.shapes["opt"] == library.shapes["max"] == (8, 3, 416, 416)
    build(tmp_path, longest=320)
    assert library.shapes["max"] == (8, 3, 320, 320)


def test_a_size_that_the_model_fixes_is_kept(library: Library, tmp_path: Path) -> None:
    """As Ultralytics' export does unless it is told otherwise."""
    library.input = [1, 3, 640, 384]
    build(tmp_path)
    assert set(library.shapes.values()) == {(1, 3, 640, 384)}
    with pytest.raises(ModelError, match=r"crowd-n\.onnx: PRECISION=int8 .*384 x 640"):
        build(tmp_path, precision="int8")
    library.input = [1, 10]
    with pytest.raises(ModelError, match=r"crowd-n\.onnx: not an image model"):
        build(tmp_path)


def test_eight_bits_are_calibrated_with_photographs(library: Library, tmp_path: Path) -> None:
    """In whole batches; where none can be read, that is said, and not what TensorRT makes of it."""
    build(tmp_path, precision="int8", photographs=[str(ROOT / "models" / "astronaut.jpg")])
    assert library.flags == ["fp16", "int8"]
    assert library.shown == [8]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"none")
    with pytest.raises(ModelError, match="none of its photographs can be read"):
        build(tmp_path, precision="int8", photographs=[str(broken)])


def test_a_file_without_metadata_is_refused_before_it_is_built(
    library: Library, tmp_path: Path
) -> None:
    """An engine of it could not serve."""
    model = onnx.load(embedded_model())
    del model.metadata_props[:]
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    with pytest.raises(ModelError, match=r"bare\.onnx: it carries no Ultralytics metadata"):
        build(tmp_path, source=bare)
    assert library.shapes == {}
