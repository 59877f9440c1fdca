"""PyTorch's engine on a GPU of NVIDIA's; left out where there is none."""

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile
from detector_service.engines import EngineOptions, GpuOptions
from detector_service.engines.on_device import DeviceRequest
from detector_service.engines.torch import TorchEngine
from telemetry.gpu import find_nvml
from tests.servers import ROOT

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU of NVIDIA's is here")

WEIGHTS = ROOT / "models" / "crowd-n.pt"
SIZES = ((256, 416), (416, 416), (320, 416), (416, 256))
THRESHOLD = 0.3


@contextmanager
def engine_of(precision: Any = "auto", *, use: bool = True, **gpu: Any) -> Iterator[TorchEngine]:
    """Load the weights onto the GPU, or the processor, and let go of them at last."""
    options = EngineOptions(precision, 4, None, gpu=GpuOptions(use=use, **gpu))
    with closing(TorchEngine(WEIGHTS, options)) as engine:
        yield engine


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Make a picture with a person in it, who is elsewhere with every seed; shape (height, width, 3)."""
    photo = cv2.imread(str(ROOT / "models" / "astronaut.jpg"))
    assert photo is not None
    random = np.random.default_rng(seed)
    height, width = size
    side = int(min(size) * random.uniform(0.6, 1.0))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    result = np.full((height, width, 3), 114, np.uint8)
    result[top : top + side, left : left + side] = cv2.resize(photo, (side, side))
    return result


def started(engine: TorchEngine, pictures: Sequence[np.ndarray]) -> list[DeviceRequest]:
    """Send pictures on their way, a request for each."""
    requests = [engine.request() for _ in pictures]
    for request, pixels in zip(requests, pictures, strict=True):
        buffer = request.buffer(*pixels.shape[:2])
        buffer[0] = pixels
        request.start(buffer, THRESHOLD)
    return requests


def alone(engine: TorchEngine, pixels: np.ndarray) -> np.ndarray:
    """Return what is found in a picture that has no company."""
    (request,) = started(engine, [pixels])
    found: np.ndarray = request.wait()[0]
    return found


def assert_alike(found: np.ndarray, expected: np.ndarray, pixels: float, score: float) -> None:
    """Compare detections, shape (n, 6), but those whose score is about the threshold."""
    sure = expected[expected[:, 4] > THRESHOLD + score]
    assert len(sure) > 0
    for row in sure:
        off = np.abs(found[:, :4] - row[:4]).max(axis=1) + 1000 * (found[:, 5] != row[5])
        nearest = int(off.argmin())
        assert off[nearest] < pixels, (row, found)
        assert abs(found[nearest, 4] - row[4]) < score


def test_it_finds_what_the_processor_finds() -> None:
    """At 32 bits nearly to the bit, at 16 bits to half a pixel."""
    with (
        engine_of("fp32", use=False) as processor,
        engine_of("fp32") as full,
        engine_of() as half,
    ):
        assert (full.device, full.precision, half.precision) == ("cuda:0", "fp32", "fp16")
        for seed, size in enumerate(SIZES):
            pixels = picture(size, seed)
            expected = alone(processor, pixels)
            assert_alike(alone(full, pixels), expected, pixels=0.05, score=0.001)
            assert_alike(alone(half, pixels), expected, pixels=1.0, score=0.02)


def test_what_is_replayed_is_what_is_computed() -> None:
    """A batch of any size is the same from a recording, be it of a larger one."""
    with engine_of("fp32", graphs=False) as computed, engine_of("fp32") as replayed:
        assert computed.recordings is None
        assert replayed.recordings is not None
        for images in (1, 3, 4, 7, 32):
            pictures = [picture(SIZES[0], seed) for seed in range(images)]
            for _ in range(25):
                answers = [request.wait()[0] for request in started(replayed, pictures)]
            assert replayed.recordings.find(images, *SIZES[0]) is not None, "it was recorded"
            for pixels, found in zip(pictures, answers, strict=True):
                assert_alike(found, alone(computed, pixels), pixels=0.05, score=0.001)


def test_many_threads_get_each_its_own() -> None:
    """While batches of several shapes are copied, computed, recorded and replayed beside each other."""
    failed: list[BaseException] = []
    pictures = [picture(size, seed) for seed in range(6) for size in SIZES]
    # Two models, each with a stream of its own.
    with engine_of() as engine, engine_of() as other:
        expected = [alone(engine, pixels) for pixels in pictures]

        def work(first: int) -> None:
            requests = [engine.request(), other.request()]
            try:
                for number in range(first, first + 120):
                    place = number * 7 % len(pictures)
                    for request in requests:
                        buffer = request.buffer(*pictures[place].shape[:2])
                        buffer[0] = pictures[place]
                        request.start(buffer, THRESHOLD)
                    for request in requests:
                        assert_alike(request.wait()[0], expected[place], pixels=1.0, score=0.02)
            except BaseException as error:  # noqa: BLE001 - it is raised below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number * 11,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        assert max(engine.batches) > 1


def test_what_does_not_fit_is_split_and_the_rest_goes_on() -> None:
    """Every image of a batch too large for the memory is answered, in smaller ones."""
    size = (1024, 1024)
    try:
        with engine_of("fp32", memory_fraction=0.01, graphs=False) as engine:
            requests = started(engine, [picture(size, seed) for seed in range(32)])
            answers = [request.wait()[0] for request in requests]
            assert all(len(rows) for rows in answers)
            assert max(engine.batches) < 32
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_closed_models_leave_the_memory() -> None:
    """Models that are changed again and again do not fill the GPU, but for the libraries' bounded workspaces."""
    taken = []
    for _ in range(4):
        with engine_of() as engine:
            for _ in range(25):
                for request in started(engine, [picture(SIZES[0], 1)] * 4):
                    request.wait()
        del engine, request
        gc.collect()
        taken.append(torch.cuda.memory_allocated())
    assert taken[-1] - taken[0] < 3 * 64 * 2**20


def test_the_detector_chooses_it_by_itself() -> None:
    """Weights on a machine with a GPU are run there, and a frame's boxes are in its pixels."""
    file = ModelFile(WEIGHTS, "FACE_MODEL_PATH", frozenset({"face", "body"}), embedded=False)
    with closing(
        Detector.load(
            [file],
            engine="auto",
            precision="auto",
            parallel=4,
            max_input=1024,
            gpu=GpuOptions(use=True),
        )
    ) as detector:
        assert detector.on_gpu
        photo = cv2.imread(str(ROOT / "models" / "astronaut.jpg"))
        found = detector.worker().detect(np.asarray(photo, np.uint8), 0.5)
        x1, y1, x2, y2, _ = found.faces[0]
        assert 150 < (x1 + x2) / 2 < 300
        assert 50 < (y1 + y2) / 2 < 200


def test_nvml_tells_of_it() -> None:
    """What the metrics are made of can be read."""
    nvml = find_nvml()
    if nvml is None:
        pytest.skip("nvidia-ml-py is not installed")
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    assert 0 < memory.used < memory.total
    assert 0 <= nvml.nvmlDeviceGetUtilizationRates(handle).gpu <= 100
    assert 0 < nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU) < 120
    assert nvml.nvmlDeviceGetUUID(handle)
