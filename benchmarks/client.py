"""Measure what the Python client costs its process, beside gRPC's own stub, with a service that answers at once.

    python -m benchmarks.client [--rounds N] [--frames N] [--out FILE]

All three send the same 720p JPEGs, eight in flight, to the same process, which answers each with the same eight
faces and eight bodies: what differs is the client. Prints a table, and writes the figures to
benchmarks/results-client.json. Talks to 127.0.0.1 only.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from crowd_detector import AsyncDetectorClient, DetectorClient, Result

from benchmarks import frames, machine

_ROOT: Final = Path(__file__).resolve().parent.parent
_RESULTS: Final = _ROOT / "benchmarks" / "results-client.json"
_IN_FLIGHT: Final = 8
_DETECTIONS: Final = 8


class AnswersAtOnce(detector_pb2_grpc.DetectorServiceServicer):
    """A service that looks at nothing."""

    async def StreamDetections(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Answer each frame with the same detections."""
        found = pb.Detection(box=pb.BoundingBox(x1=1, y1=2, x2=300, y2=400), confidence=0.9)
        result = pb.FrameResult(faces=[found] * _DETECTIONS, bodies=[found] * _DETECTIONS)
        response = pb.StreamDetectionsResponse(result=result)
        async for message in request:
            if message.HasField("config"):
                await context.write(pb.StreamDetectionsResponse(configured=message.config))
            else:
                response.result.frame.sequence += 1
                await context.write(response)


async def _serve() -> None:
    server = grpc.aio.server()
    detector_pb2_grpc.add_DetectorServiceServicer_to_server(AnswersAtOnce(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started this is gone
    await server.stop(0)


async def _stub(address: str, images: Iterator[bytes]) -> int:
    """Stream as the generated code alone does it."""
    free = asyncio.Semaphore(_IN_FLIGHT)

    async def requests() -> AsyncIterator[pb.StreamDetectionsRequest]:
        for image in images:
            await free.acquire()
            yield pb.StreamDetectionsRequest(frame=pb.Frame(encoded=image))

    found = 0
    async with grpc.aio.insecure_channel(address) as channel:
        stub = detector_pb2_grpc.DetectorServiceStub(channel)
        async for response in stub.StreamDetections(requests()):
            free.release()
            found += len(response.result.faces)
    return found


async def _async_client(address: str, images: Iterator[bytes]) -> int:
    async def source() -> AsyncIterator[bytes]:
        for image in images:
            yield image

    found = 0
    async with AsyncDetectorClient(address) as client:
        async for answer in client.stream(source(), max_in_flight=_IN_FLIGHT):
            assert isinstance(answer, Result)
            found += len(answer.faces)
    return found


def _client(address: str, images: Iterator[bytes]) -> int:
    found = 0
    with DetectorClient(address) as client:
        for answer in client.stream(images, max_in_flight=_IN_FLIGHT):
            assert isinstance(answer, Result)
            found += len(answer.faces)
    return found


_CONTENDERS: Final[dict[str, Callable[[str, Iterator[bytes]], int]]] = {
    "grpc.aio's stub": lambda address, images: asyncio.run(_stub(address, images)),
    "AsyncDetectorClient": lambda address, images: asyncio.run(_async_client(address, images)),
    "DetectorClient": _client,
}


def _milliseconds(
    contender: Callable[[str, Iterator[bytes]], int], address: str, images: list[bytes], count: int
) -> float:
    """Return the processor time of this process for each frame."""
    began = time.process_time()
    found = contender(address, islice(cycle(images), count))
    took = time.process_time() - began
    assert found == count * _DETECTIONS
    return 1000 * took / count


def _import_milliseconds(module: str) -> float:
    """Return how long a fresh interpreter takes to import something, without its own start."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return 1000 * float(done.stdout)


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=1000, help="of each contender and round")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        images = frames.read(frames.write(Path(folder))[0].parent)
    times: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    service = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client", "--serve"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stdout is not None
        address = f"127.0.0.1:{service.stdout.readline().strip()}"
        for _ in range(options.rounds):
            for name, contender in _CONTENDERS.items():
                times[name].append(_milliseconds(contender, address, images, options.frames))
    finally:
        service.kill()
        service.wait()
    own = median(times["grpc.aio's stub"])
    imports = [_import_milliseconds("crowd_detector") for _ in range(options.rounds)]
    print("processor time of the client's process, ms a frame (720p JPEG), medians")
    for name, taken in times.items():
        print(f"  {name:20} {median(taken):6.3f}   adds {median(taken) - own:6.3f}")
    print(f"import crowd_detector: {median(imports):.0f} ms")
    results = {
        "machine": machine.describe(),
        "frames": options.frames,
        "cpu_ms_per_frame": times,
        "added_ms_per_frame": {name: median(taken) - own for name, taken in times.items()},
        "import_ms": imports,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
