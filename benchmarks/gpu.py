"""Measure PyTorch's engine on a GPU: batch size against frames a second and latency, and where the time goes.

    python -m benchmarks.gpu [--seconds N] [--out FILE] [--image FILE]

First the engine alone, from pixels in its page-locked buffers to finished detections, by batch size, precision and with or
without CUDA graphs; then the steps of one batch; then whole frames: decoded, resized and inferred by threads of this
process, and by the service over gRPC. Writes benchmarks/results-gpu.json and a plot. Talks to 127.0.0.1 only.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path
from statistics import median
from typing import Any, Final

import cv2
import numpy as np
import torch
from crowd.detector.v1 import detector_pb2 as pb
from numpy.typing import NDArray

from benchmarks import frames, gpu_plot, machine, service
from benchmarks.children import ROOT, Child, ChildFailedError
from benchmarks.contender import Figures
from detector_service import engines
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile
from detector_service.engines.on_device import DeviceRequest, read_anchors
from detector_service.engines.torch import TorchEngine
from detector_service.pipeline import FrameLimits, Pipeline
from detector_service.settings import load_settings

_WEIGHTS: Final = ROOT / "models" / "crowd-n.pt"
_RESULTS: Final = ROOT / "benchmarks" / "results-gpu.json"
_IMAGE: Final = ROOT / "docs" / "images" / "benchmark-gpu.svg"
_BATCHES: Final = (1, 2, 4, 8, 16, 32)
#: A 16:9 camera's picture, as the model that ships sees it, and as one of 640 pixels does: height and width.
_SIZES: Final = ((256, 416), (384, 640))
#: Batches that are run first: a shape is recorded when it has come 20 times.
_WARM_UP: Final = 30
_THRESHOLD: Final = 0.5
_STREAMS: Final = (1, 4, 16, 64)
#: More than is answered. Where `generator_cpu_percent` is near 100 the generator, one process of Python, is what limits.
_OFFERED: Final = 6000.0
_LIMIT_SECONDS: Final = 90.0


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--image", type=Path, default=_IMAGE)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu: PyTorch sees no GPU here", file=sys.stderr)
        return 1
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe() | {"gpu": torch.cuda.get_device_name()},
        "versions": machine.versions() | {"cuda": torch.version.cuda},
    }
    with tempfile.TemporaryDirectory() as folder:
        frames.write(Path(folder))
        measurements = {
            "engine": _engine_rows(options.seconds),
            "steps": (_steps(size, batch) for size in _SIZES for batch in (1, 32)),
            "in_process": _in_process(frames.read(Path(folder)), options.seconds),
            "service": _service_rows(Path(folder), options.seconds),
        }
        for name, rows in measurements.items():
            results[name] = []
            for row in rows:
                print(json.dumps({"measured": name} | row), flush=True)
                results[name].append(row)
                options.out.write_text(json.dumps(results, indent=1) + "\n")
    gpu_plot.draw(results, options.image)
    return 0


def _engine_rows(seconds: float) -> Iterator[dict[str, Any]]:
    for precision, graphs in (("fp16", True), ("fp16", False), ("fp32", True)):
        for height, width in _SIZES:
            if (height, width) != _SIZES[0] and not (precision == "fp16" and graphs):
                continue
            for batch in _BATCHES:
                with closing(_engine(precision, batch, graphs=graphs)) as engine:
                    yield {
                        "precision": precision,
                        "graphs": graphs,
                        "height": height,
                        "width": width,
                        "batch": batch,
                        **_latency(engine, batch, height, width, seconds),
                        **_throughput(engine, batch, height, width, seconds),
                    }


def _engine(precision: Any, batch: int, *, graphs: bool = True) -> TorchEngine:
    gpu = engines.GpuOptions(use=True, batch=batch, graphs=graphs)
    return TorchEngine(_WEIGHTS, engines.EngineOptions(precision, batch, None, gpu=gpu))


def _filled(engine: TorchEngine, height: int, width: int, number: int) -> DeviceRequest:
    request = engine.request()
    request.buffer(height, width)[0] = _picture(height, width, number)
    return request


def _picture(height: int, width: int, number: int) -> NDArray[np.uint8]:
    """Return the photograph that ships, a little brighter with every number."""
    photo = cv2.imread(str(ROOT / "models" / "astronaut.jpg"))
    assert photo is not None
    fitted = cv2.resize(photo, (width, height))
    return np.asarray(cv2.convertScaleAbs(fitted, beta=number), np.uint8)


def _latency(
    engine: TorchEngine, batch: int, height: int, width: int, seconds: float
) -> dict[str, float]:
    """Let one thread start a batch and wait for it, again and again."""
    requests = [_filled(engine, height, width, number) for number in range(batch)]

    def once() -> float:
        began = time.perf_counter()
        for request in requests:
            request.start(request.buffer(height, width), _THRESHOLD)
        for request in requests:
            request.wait()
        return time.perf_counter() - began

    for _ in range(_WARM_UP):
        once()
    took, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        took.append(once())
    assert engine.batches[batch] >= len(took), "each went as one batch"
    return {
        "latency_p50_ms": 1000 * median(took),
        "latency_p99_ms": 1000 * float(np.quantile(took, 0.99)),
    }


def _throughput(
    engine: TorchEngine, batch: int, height: int, width: int, seconds: float
) -> dict[str, float]:
    """Let twice as many threads as fill a batch start and wait, as the service's workers do."""
    before = engine.batches.copy()

    def loop(number: int) -> Callable[[], None]:
        request = _filled(engine, height, width, number)

        def once() -> None:
            request.start(request.buffer(height, width), _THRESHOLD)
            request.wait()

        return once

    rate = _rate([loop(number) for number in range(2 * batch)], seconds)
    return {"fps": rate, "mean_batch": _mean(engine.batches - before)}


def _mean(batches: Counter[int]) -> float:
    return sum(size * many for size, many in batches.items()) / sum(batches.values())


def _rate(loops: Sequence[Callable[[], None]], seconds: float) -> float:
    """Return how often a second functions return, each called again and again by a thread of its own.

    Raises:
        Exception: what one of them raised.
    """
    done = [0] * len(loops)
    stop = threading.Event()

    def run(number: int) -> None:
        while not stop.is_set():
            loops[number]()
            done[number] += 1

    with ThreadPoolExecutor(len(loops)) as threads:
        running = [threads.submit(run, number) for number in range(len(loops))]
        time.sleep(min(seconds, 1.0))
        first, began = sum(done), time.perf_counter()
        time.sleep(seconds)
        rate = (sum(done) - first) / (time.perf_counter() - began)
        stop.set()
        for each in running:
            each.result()
    return rate


def _steps(size: tuple[int, int], batch: int) -> dict[str, Any]:
    """Return what the steps of one batch take, one after the other, each waited for: milliseconds, medians."""
    with closing(_engine("fp16", batch)) as engine, torch.inference_mode():
        _latency(engine, batch, *size, seconds=0.1)
        assert engine.recordings is not None
        recording = engine.recordings.find(batch, *size)
        hosts = [
            torch.from_numpy(_picture(*size, number)[None]).pin_memory() for number in range(batch)
        ]
        there = [torch.empty_like(host, device=engine.device) for host in hosts]

        def copy() -> None:
            for host, pixels in zip(hosts, there, strict=True):
                pixels.copy_(host, non_blocking=True)

        def read() -> None:
            owners, rows = read_anchors(predictions, _THRESHOLD)
            torch.cat([owners[:, None].to(rows), rows], dim=1).cpu()

        taken = {"copy to the GPU": _milliseconds(copy)}
        pixels = torch.cat(there)
        predictions = engine.predict(pixels).clone()
        taken["network, step by step"] = _milliseconds(lambda: engine.predict(pixels))
        if recording is not None:
            taken["network, replayed"] = _milliseconds(lambda: recording(there))
        taken["heads, NMS, copy back"] = _milliseconds(read)
    return {"height": size[0], "width": size[1], "batch": batch, "ms": taken}


def _milliseconds(step: Callable[[], object], times: int = 50) -> float:
    took = []
    for _ in range(times):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def _in_process(sent: Sequence[bytes], seconds: float) -> Iterator[dict[str, Any]]:
    """Decode, resize and infer in threads of this process: what the service could do at most."""
    settings = load_settings()
    limits = FrameLimits(settings.max_frame_bytes, settings.max_image_pixels)
    file = ModelFile(_WEIGHTS, "benchmark", frozenset({"face", "body"}), embedded=False)
    for workers in (1, 2 * machine.cores(), engines.default_workers(32), 96):
        with closing(
            Detector.load(
                [file],
                engine="torch",
                precision="auto",
                parallel=workers,
                max_input=settings.max_frame_size,
                gpu=engines.GpuOptions(use=True),
            )
        ) as detector:

            def loop(first: int, detector: Detector = detector) -> Callable[[], None]:
                pipeline = Pipeline(detector, limits)
                images = cycle([pb.Frame(encoded=data) for data in sent[first % len(sent) :]])

                def once() -> None:
                    pipeline.find(pipeline.decode(next(images)), _THRESHOLD)

                return once

            loops = [loop(number) for number in range(workers)]
            before, cpu, began = detector.batches(), time.process_time(), time.perf_counter()
            rate = _rate(loops, 2 * seconds)
            busy = (time.process_time() - cpu) / (time.perf_counter() - began)
            yield {
                "workers": workers,
                "fps": rate,
                "cores_busy": busy,
                "mean_batch": _mean(detector.batches() - before),
            }


def _service_rows(folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        generator = stack.enter_context(
            Child(folder, ["-m", "benchmarks.load", str(folder)], dict(os.environ))
        )
        detector, address = service.start_detector(
            folder, FACE_MODEL_PATH=str(_WEIGHTS), BODY_MODEL_PATH=str(_WEIGHTS), ENGINE="torch"
        )
        stack.enter_context(detector)
        seeds = count()

        def measure(rates: list[float]) -> Figures:
            return generator.ask(
                "measure",
                limit=_LIMIT_SECONDS,
                transport="stream",
                address=address,
                pids=[detector.process.pid],
                rates=rates,
                seed=next(seeds),
                warm_up=2.0,
                seconds=2 * seconds,
            )

        _await_ready(detector, measure)
        best = 0.0
        for streams in _STREAMS:
            figures = measure([_OFFERED / streams] * streams)
            best = max(best, float(figures.get("fps", 0.0)))
            yield {"streams": streams, "load": "saturation"} | figures
        if best:
            yield {"streams": 16, "load": "half"} | measure([best / 2 / 16] * 16)
        yield {"streams": 1, "load": "idle"} | measure([10.0])


def _await_ready(detector: Child, measure: Callable[[list[float]], Figures]) -> None:
    ends = time.monotonic() + _LIMIT_SECONDS
    while "failed" in (figures := measure([5.0])):
        detector.check()
        if time.monotonic() > ends:
            raise ChildFailedError(str(figures["failed"]))
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
