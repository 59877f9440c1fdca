"""PyTorch as an engine, on the processor; what only a GPU shows is in test_gpu.py."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector_service import engines
from detector_service.detection.detector import Detector
from detector_service.detection.metadata import Metadata
from detector_service.detection.model_files import ModelFile, content_hash
from detector_service.engines import EngineOptions, GpuOptions, Precision
from detector_service.engines.base import InputShape
from detector_service.engines.batching import DeviceFullError
from detector_service.engines.torch import TorchEngine
from detector_service.errors import ModelError
from tests.builds import planted
from tests.servers import ROOT

WEIGHTS = ROOT / "models" / "crowd-n.pt"


@pytest.fixture(scope="module")
def engine() -> Iterator[TorchEngine]:
    """The shipped weights."""
    with closing(
        TorchEngine(WEIGHTS, EngineOptions("auto", 2, None, gpu=GpuOptions(batch=4)))
    ) as made:
        yield made


def load(**options: Any) -> Detector:
    """Load the shipped weights for both roles."""
    file = ModelFile(WEIGHTS, "FACE_MODEL_PATH", frozenset({"face", "body"}), embedded=False)
    return Detector.load(
        [file], engine="torch", precision="auto", parallel=1, max_input=1024, **options
    )


def test_it_says_what_it_is(engine: TorchEngine) -> None:
    """Its answers are finished detections, and its metadata say so."""
    assert (engine.name, engine.device, engine.precision) == ("torch", "cpu", "fp32")
    assert engine.input_shape == InputShape(None, None)
    metadata = Metadata.parse(engine.metadata, WEIGHTS)
    assert metadata == Metadata(("person", "face"), 32, 416, end_to_end=True)


def test_a_batch_gives_what_its_images_give_alone(engine: TorchEngine) -> None:
    """To within what the order of additions does."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (1, 64, 96, 3), np.uint8) for _ in range(3)]

    def run(requests: list[Any]) -> list[np.ndarray]:
        for request, image in zip(requests, images, strict=True):
            buffer = request.buffer(64, 96)
            buffer[:] = image
            request.start(buffer, 0.0005)
        return [request.wait() for request in requests]

    requests = [engine.request() for _ in images]
    together = run(requests)
    (batch,) = {request.batch for request in requests}
    assert batch is not None
    assert batch.images == 3
    for image, found in zip(images, together, strict=True):
        request = engine.request()
        buffer = request.buffer(64, 96)
        buffer[:] = image
        request.start(buffer, 0.0005)
        alone = request.wait()
        assert alone.shape[1] > 0
        np.testing.assert_allclose(found, alone, atol=1e-2)


def test_what_was_hashed_is_what_is_loaded() -> None:
    """Of a file that changed since, nothing is loaded."""
    options = EngineOptions("auto", 1, None, content=content_hash(WEIGHTS))
    with closing(TorchEngine(WEIGHTS, options)) as made:
        assert made.metadata["names"] == "{0: 'person', 1: 'face'}"
    with pytest.raises(ModelError, match="the file changed while it was read"):
        TorchEngine(WEIGHTS, EngineOptions("auto", 1, None, content="0" * 64))


def test_planted_code_does_not_run(tmp_path: Path) -> None:
    """Even where Ultralytics was imported before, and would run it."""
    from ultralytics.models import YOLO

    leaves = tmp_path / "was-here"
    path = planted.archive(tmp_path / "planted.pt", {"model": planted.Planted(leaves)})
    with pytest.raises(
        ModelError, match=r"planted\.pt: it holds more than a model.*asks for \w+\."
    ):
        TorchEngine(path, EngineOptions("auto", 1, None))
    assert not leaves.exists()
    assert YOLO is not None


@pytest.mark.parametrize(
    ("precision", "words"), [("fp16", "PRECISION=fp16: this is for GPUs"), ("bf16", None)]
)
def test_precisions_of_the_processor(precision: Precision, words: str | None) -> None:
    """Half precision is for GPUs; bf16 can be had."""
    options = EngineOptions(precision, 1, None)
    if words is None:
        with closing(TorchEngine(WEIGHTS, options)) as made:
            assert made.precision == precision
    else:
        with pytest.raises(ModelError, match=words):
            TorchEngine(WEIGHTS, options)


def test_pytorch_that_is_missing_is_told_how_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command."""
    monkeypatch.delitem(sys.modules, "detector_service.engines.torch")
    monkeypatch.delitem(sys.modules, "detector_service.engines.on_device", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ModelError, match=r"crowd-n\.pt: .*'torch'.*pip install 'crowd-detector\[service,torch\]'"
    ):
        engines.load("torch", WEIGHTS, EngineOptions("auto", 1, None))


def test_pytorch_that_is_not_whole_is_told_how_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where torchvision is of another build, which is no ImportError."""

    def broken(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(engines, "import_module", broken)
    with pytest.raises(
        ModelError, match=r"crowd-n\.pt: .*not whole \(operator torchvision::nms.*pip"
    ):
        load()


def test_an_ultralytics_that_cannot_load_safely_loads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older one would load whatever a file holds."""
    from ultralytics.nn import tasks

    monkeypatch.delattr(tasks, "_SafeLoad")
    with pytest.raises(ModelError, match=r"crowd-n\.pt: .*too old to load weights safely: pip"):
        TorchEngine(WEIGHTS, EngineOptions("auto", 1, None))


def test_a_device_too_small_for_one_image_is_an_error_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names the variable of the model, and those to change."""

    def full(_engine: object, _uploads: object) -> None:
        raise DeviceFullError("1 images at once do not fit; lower MAX_FRAME_SIZE")

    monkeypatch.setattr(TorchEngine, "_run", full)
    with pytest.raises(ModelError, match=r"^FACE_MODEL_PATH: .*do not fit; lower MAX_FRAME_SIZE"):
        load()


def test_a_threshold_of_nothing_gives_no_more_than_predict_does(photo: bytes) -> None:
    """300 detections at most, all of them boxes in the frame."""
    with closing(load()) as detector:
        found = detector.worker().detect(np.full((90, 160, 3), 99, np.uint8), 0.0)
    assert 0 < len(found.faces) + len(found.bodies) <= 300


def test_it_computes_on_so_many_threads() -> None:
    """A batch is computed by as many as it is told, and left to PyTorch where it is told nothing."""
    before = torch.get_num_threads()
    try:
        TorchEngine(WEIGHTS, EngineOptions("auto", 1, None, threads=1)).close()
        assert torch.get_num_threads() == 1
        TorchEngine(WEIGHTS, EngineOptions("auto", 1, None)).close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
