"""What is asked of PyTorch to record a CUDA graph; what it does on a GPU is in test_gpu.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from detector_service.engines import cuda_graphs
from detector_service.engines.cuda_graphs import GraphRecording, give_back_memory


class Gpu:
    """Stands in for PyTorch's part: what is recorded is what was computed while it was."""

    def __init__(self) -> None:
        self.under_way: list[tuple[object, str]] = []
        self.held: list[bool] = []

    def current_stream(self) -> str:
        return "the model's own"

    def empty_cache(self) -> None:
        self.held.append(cuda_graphs._RECORDING.locked())

    @contextmanager
    def graph(self, graph: object, *, stream: str, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.held.append(cuda_graphs._RECORDING.locked())
        self.under_way.append((graph, stream))
        yield

    def replay(self) -> None:
        """Leave the predictions as they are."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU's stand-in."""
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: gpu)
    for name in ("current_stream", "empty_cache", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpu, name))
    return gpu


def recording() -> GraphRecording:
    """Record a model that gives what it is given."""
    return GraphRecording(lambda pixels: pixels, lambda: None, (4, 2, 2), "cpu")


def test_one_recording_is_made_at_a_time(gpu: Gpu) -> None:
    """Of all models, each on its own stream; nor is memory given back meanwhile, nor is the lock kept."""
    recording()
    give_back_memory()
    recording()
    assert gpu.held == [True, True, True]
    assert {stream for _, stream in gpu.under_way} == {"the model's own"}
    assert not cuda_graphs._RECORDING.locked()


def test_a_smaller_batch_is_replayed_from_a_larger_recording(gpu: Gpu) -> None:
    """Its images are put where the recording reads them, and only their answers come back."""
    replay = recording()
    images: list[Any] = [torch.full((1, 2, 2, 3), value, dtype=torch.uint8) for value in (1, 2, 3)]
    assert replay(images)[:, 0, 0, 0].tolist() == [1, 2, 3]
