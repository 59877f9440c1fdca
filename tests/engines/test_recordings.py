"""Which shapes are recorded: those that keep coming, a few of them, and none that cannot be."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detector_service.engines import EngineOptions, GpuOptions, recordings
from detector_service.engines.on_device import DeviceEngine
from detector_service.engines.recordings import Recordings, Shape
from detector_service.engines.torch import TorchEngine
from tests.servers import ROOT

OFTEN = recordings._RECORD_AFTER
KEPT = recordings._KEPT


class Recorder:
    """Makes recordings, and notes of what."""

    def __init__(self) -> None:
        self.made: list[Shape] = []
        self.cannot: set[Shape] = set()

    def __call__(self, shape: Shape) -> str:
        if shape in self.cannot:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.made.append(shape)
        return f"{len(self.made)}: {shape}"


def find(of: Recordings[str], images: int, height: int, times: int = 1) -> list[str | None]:
    """Look for a recording so many times."""
    return [of.find(images, height, 64) for _ in range(times)]


def test_a_shape_is_recorded_once_it_keeps_coming() -> None:
    """And replayed from then on."""
    recorder = Recorder()
    found = find(Recordings(recorder, 8), 1, 32, OFTEN + 5)
    assert found == [None] * (OFTEN - 1) + ["1: (1, 32, 64)"] * 6


def test_batches_share_the_recording_of_the_next_power_of_two() -> None:
    """Of the largest batch at most, whether that is one or not."""
    recorder = Recorder()
    of = Recordings(recorder, 6)
    for images in (1, 2, 3, 4, 5, 6):
        find(of, images, 32, OFTEN)
    assert recorder.made == [(1, 32, 64), (2, 32, 64), (4, 32, 64), (6, 32, 64)]


def test_one_in_use_is_never_given_up_for_another() -> None:
    """One that is not used any more is."""
    recorder = Recorder()
    of = Recordings(recorder, 1)
    for height in range(KEPT):
        find(of, 1, height, OFTEN)
    assert find(of, 1, 1000, OFTEN * 2) == [None] * (OFTEN * 2)
    for _ in range(recordings._UNUSED_AFTER // KEPT + 100):
        for height in range(1, KEPT):
            find(of, 1, height)
    assert find(of, 1, 1000)[-1] is not None  # it had kept coming before
    assert find(of, 1, 0) == [None]
    assert None not in [find(of, 1, height)[0] for height in range(1, KEPT)]


def test_what_cannot_be_recorded_is_computed_for_ever(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is tried once, and said once; other shapes are recorded."""
    recorder = Recorder()
    recorder.cannot = {(1, 32, 64)}
    of = Recordings(recorder, 8)
    assert find(of, 1, 32, OFTEN * 3) == [None] * (OFTEN * 3)
    assert find(of, 2, 32, OFTEN)[-1] is not None
    said = capsys.readouterr().out
    assert said.count("not permitted") == 1


def test_what_was_let_go_of_is_recorded_again() -> None:
    """Once the shape has come as often as at first."""
    recorder = Recorder()
    of = Recordings(recorder, 8)
    find(of, 1, 32, OFTEN)
    of.clear()
    assert find(of, 1, 32, OFTEN) == [None] * (OFTEN - 1) + ["2: (1, 32, 64)"]


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 300)), max_size=300))
def test_whatever_comes_little_is_held(shapes: list[tuple[int, int]]) -> None:
    """Bounded recordings, bounded counts."""
    of = Recordings(Recorder(), 16)
    for images, height in shapes:
        find(of, images, height, OFTEN // 3)
    assert len(of._kept) <= KEPT
    assert len(of._seen) <= recordings._COUNTED
    assert of._kept.keys() == of._last_used.keys()


def test_a_replayed_batch_gives_each_image_its_own_answer(request: pytest.FixtureRequest) -> None:
    """Though its recording is of more images, and holds those of the batch before."""

    def brightness(pictures: Any) -> Any:
        predictions = torch.zeros(len(pictures), 6, 1)
        predictions[:, :4] = 32
        predictions[:, 4, 0] = pictures.mean(dim=(1, 2, 3))
        return predictions

    metadata = {"names": "{0: 'person', 1: 'face'}", "end2end": "False"}
    engine = DeviceEngine(
        brightness, metadata, device="cpu", precision="fp32", pictures=torch.float32, batch=4
    )
    request.addfinalizer(engine.close)

    class Replayed:
        """As a CUDA graph does it: what is there is computed again, wherever it came from."""

        def __init__(self, shape: Shape) -> None:
            self.pixels = torch.full((*shape, 3), 255, dtype=torch.uint8)

        def __call__(self, images: Any) -> Any:
            for place, image in enumerate(images):
                self.pixels[place].copy_(image[0])
            return engine.predict(self.pixels)[: len(images)]

    engine.recordings = Recordings(Replayed, 4)
    requests = [engine.request() for _ in range(3)]
    for _ in range(OFTEN + 2):
        for number, each in enumerate(requests):
            buffer = each.buffer(32, 32)
            buffer[:] = 50 * (number + 1)
            each.start(buffer, 0.1)
        found = [each.wait() for each in requests]
        assert [answer.shape for answer in found] == [(1, 1, 6)] * 3
        scores = [float(answer[0, 0, 4]) for answer in found]
        assert scores == pytest.approx([50 / 255, 100 / 255, 150 / 255])
    assert engine.recordings._kept.keys() == {(4, 32, 32)}


def test_a_processor_records_nothing() -> None:
    """There is nothing to gain."""
    weights = ROOT / "models" / "crowd-n.pt"
    options = EngineOptions("auto", 1, None, gpu=GpuOptions(batch=4))
    with closing(TorchEngine(weights, options)) as engine:
        assert engine.recordings is None
        request = engine.request()
        buffer = request.buffer(64, 64)
        buffer[:] = np.uint8(99)
        request.start(buffer, 0.5)
        assert request.wait().shape[2] == 6
