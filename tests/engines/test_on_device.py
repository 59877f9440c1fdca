"""Heads and NMS with tensors, a batch at a time, and a device whose memory is short."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector_service.detection import heads, nms
from detector_service.engines.batching import DeviceFullError
from detector_service.engines.on_device import DeviceEngine, read_anchors, read_end_to_end

METADATA = {"names": "{0: 'person', 1: 'face'}", "stride": "32", "imgsz": "64", "end2end": "False"}


def raw(seed: int, images: int, classes: int, anchors: int) -> NDArray[np.float32]:
    """Make predictions with many overlaps, shape (images, 4 + classes, anchors)."""
    random = np.random.default_rng(seed)
    boxes = random.uniform((10, 10, 5, 5), (90, 90, 60, 60), (images, anchors, 4))
    scores = random.uniform(0, 1, (images, anchors, classes))
    return np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
)
def test_it_reads_what_the_processor_s_own_code_reads(
    seed: int, images: int, classes: int, anchors: int, threshold: float
) -> None:
    """Every image of a batch gets the boxes, scores and classes that it gets alone, in their order."""
    predictions = raw(seed, images, classes, anchors)
    owners, rows = read_anchors(torch.from_numpy(predictions), threshold)
    for image in range(images):
        candidates = heads.read_anchors(predictions[image], threshold)
        expected = nms.suppress(candidates, iou_threshold=0.7, most=anchors)
        found = rows[owners == image].numpy()
        np.testing.assert_allclose(found[:, :4], expected.boxes, atol=1e-4)
        np.testing.assert_array_equal(found[:, 4], expected.scores)
        np.testing.assert_array_equal(found[:, 5], expected.classes)


def test_finished_detections_are_passed_on() -> None:
    """Those of each image that score more than the threshold."""
    predictions = torch.zeros(2, 3, 6)
    predictions[0, :, 4] = torch.tensor([0.9, 0.5, 0.1])
    predictions[1, 0, 4] = 0.6
    owners, rows = read_end_to_end(predictions, 0.3)
    assert owners.tolist() == [0, 0, 1]
    assert rows[:, 4].tolist() == pytest.approx([0.9, 0.5, 0.6])


class Device:
    """A model whose one box says how bright its picture is; holds no more than so many pictures."""

    def __init__(self, room: int = 100, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room = room
        self.error = error
        self.activations: Callable[[], object] = lambda: None
        self.batches: list[int] = []
        self.picture: Any = None

    def __call__(self, pictures: Any) -> Any:
        self.batches.append(len(pictures))
        self.picture = pictures[0]
        assert self.activations() is None, "what did not fit is still held"
        activations = torch.zeros(len(pictures))
        self.activations = weakref.ref(activations)
        if len(pictures) > self.room:
            raise self.error("CUDA out of memory, says a library")
        predictions = torch.zeros(len(pictures), 6, 1)
        predictions[:, :4] = 32
        predictions[:, 4, 0] = pictures.mean(dim=(1, 2, 3))
        return predictions


@contextmanager
def engine(device: Device) -> Iterator[DeviceEngine]:
    """Make an engine of this model on the processor, and close it at last."""
    made = DeviceEngine(
        device, METADATA, device="cpu", precision="fp32", pictures=torch.float32, batch=8
    )
    try:
        yield made
    finally:
        made.close()


def brightness(found: NDArray[np.float32]) -> float:
    """Return what the one box says."""
    assert found.shape == (1, 1, 6)
    return float(found[0, 0, 4])


def test_pixels_become_pictures() -> None:
    """Red-green-blue planes in [0, 1], from bytes as they lie in the buffer."""
    device = Device()
    with engine(device) as made:
        request = made.request()
        buffer = request.buffer(2, 3)
        buffer[:] = np.arange(18, dtype=np.uint8).reshape(1, 2, 3, 3)
        request.start(buffer, 0.0)
        request.wait()
    expected = buffer[0, ..., ::-1].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(device.picture.numpy(), expected, atol=1e-7)


def test_images_of_one_size_are_run_together() -> None:
    """Each gets its own answer; a request keeps its buffer for the next image of any size."""
    device = Device()
    with engine(device) as shared:
        requests = [shared.request() for _ in range(3)]
        for size in ((32, 64), (64, 64), (32, 32)):
            for number, request in enumerate(requests):
                buffer = request.buffer(*size)
                assert buffer.shape == (1, *size, 3)
                buffer[:] = 50 * (number + 1)
                request.start(buffer, 0.1)
            found = [brightness(request.wait()) for request in requests]
            assert found == pytest.approx([50 / 255, 100 / 255, 150 / 255])
    assert device.batches == [3, 3, 3]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_does_not_suffice_for_a_batch_is_made_to_suffice(
    error: type[RuntimeError],
) -> None:
    """The batch is split until it fits, what did not fit is let go of first, and every image is answered."""
    device = Device(room=1, error=error)
    with engine(device) as shared:
        requests = [shared.request() for _ in range(4)]
        for request in requests:
            buffer = request.buffer(32, 32)
            buffer[:] = 100
            request.start(buffer, 0.1)
        found = [brightness(request.wait()) for request in requests]
    assert found == pytest.approx([100 / 255] * 4)
    assert device.batches == [4, 2, 1, 1, 2, 1, 1]


def test_memory_that_does_not_suffice_for_one_image_is_an_error_of_that_image() -> None:
    """It says what to change; the next image is answered."""
    device = Device(room=0)
    with engine(device) as made:
        request = made.request()
        request.start(request.buffer(32, 32), 0.1)
        with pytest.raises(DeviceFullError, match="lower ENGINE_BATCH or MAX_FRAME_SIZE"):
            request.wait()
        device.room = 1
        buffer = request.buffer(32, 32)
        buffer[:] = 100
        request.start(buffer, 0.1)
        assert brightness(request.wait()) == pytest.approx(100 / 255)


def test_an_image_that_nobody_waits_for_is_in_nobody_s_way() -> None:
    """As when another model's request failed; its error is nobody's either."""
    device = Device(room=0)
    with engine(device) as made:
        request = made.request()
        request.start(request.buffer(32, 32), 0.1)
        device.room = 1
        buffer = request.buffer(32, 32)
        buffer[:] = 100
        request.start(buffer, 0.1)
        assert brightness(request.wait()) == pytest.approx(100 / 255)


def test_a_closed_engine_runs_nothing() -> None:
    """And may be closed twice."""
    with engine(Device()) as closed:
        closed.close()
        request = closed.request()
        request.start(request.buffer(32, 32), 0.1)
        with pytest.raises(RuntimeError, match="the engine has ended"):
            request.wait()
