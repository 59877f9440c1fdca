"""Start the service, send it a photograph on a stream, print what it found, and draw it.

    python clients/python/examples/demo.py [PHOTO] [--out demo.jpg]

Exit codes: 0 where a person and a face were found, 1 otherwise.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import cv2
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import DetectorClient

ROOT: Final = Path(__file__).resolve().parents[3]
READY_SECONDS: Final = 60
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
FACE, BODY = (80, 220, 255), (90, 200, 80)  # blue, green, red


@asynccontextmanager
async def service() -> AsyncIterator[str]:
    """Run a service of its own on a free port; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "detector_service",
        env=os.environ | {"HOST": "127.0.0.1", "GRPC_PORT": str(port), "LOG_LEVEL": "WARNING"},
    )
    died = asyncio.create_task(_exit_if_it_ends(process, asyncio.current_task()))
    try:
        yield f"127.0.0.1:{port}"
    except asyncio.CancelledError:
        raise SystemExit(f"demo: the service ended with exit code {process.returncode}") from None
    finally:
        died.cancel()
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _exit_if_it_ends(
    process: asyncio.subprocess.Process, waiting: "asyncio.Task[Any] | None"
) -> None:
    """Cancel whoever waits for a service that is no more."""
    await process.wait()
    if waiting is not None:
        waiting.cancel()


async def look_at(photo: bytes, address: str) -> pb.FrameResult:
    """Stream one photograph through the service; return its result."""

    async def frames() -> AsyncIterator[pb.Frame]:
        yield pb.Frame(frame_id="photo", camera="demo", encoded=photo)

    results = []
    async with DetectorClient(address) as client:
        await client.wait_until_ready(READY_SECONDS)
        async for response in client.stream(frames()):
            match response.WhichOneof("message"):
                case "result":
                    results.append(response.result)
                case "error":
                    raise SystemExit(f"demo: {response.error.message}")
    return results[0]


def describe(result: pb.FrameResult) -> str:
    """Say what was found, for people."""
    crowd, times = result.crowd, result.stage_times
    level = pb.CrowdLevel.Name(crowd.crowd_level).removeprefix("CROWD_LEVEL_").lower()
    counts = f"faces {crowd.face_count}   bodies {crowd.body_count}"
    lines = [f"{counts}   crowd level {level}   density {crowd.density_score:.2f}"]
    for kind, detections in (("face", result.faces), ("body", result.bodies)):
        lines += [
            f"  {kind}  {found.confidence:.2f}  at ({found.box.x1:.0f}, {found.box.y1:.0f}) "
            f"to ({found.box.x2:.0f}, {found.box.y2:.0f})"
            for found in detections
        ]
    stages = (
        ("decode", times.decode),
        ("inference", times.inference),
        ("rest", times.post_processing),
    )
    lines.append(
        "  ".join(f"{name} {time.ToMicroseconds() / 1000:.1f} ms" for name, time in stages)
    )
    return "\n".join(lines)


def draw(photo: Path, result: pb.FrameResult, out: Path) -> None:
    """Write the photograph with boxes in it."""
    image = cv2.imread(str(photo))
    assert image is not None, "the service could decode it"
    for detections, colour, name in ((result.bodies, BODY, "person"), (result.faces, FACE, "face")):
        for found in detections:
            box = found.box
            corner, opposite = (round(box.x1), round(box.y1)), (round(box.x2), round(box.y2))
            cv2.rectangle(image, corner, opposite, colour, 2, cv2.LINE_AA)
            label = f"{name} {found.confidence:.2f}"
            (width, height), _ = cv2.getTextSize(label, FONT, 0.45, 1)
            left, bottom = corner[0], max(corner[1], height + 6)
            cv2.rectangle(
                image, (left, bottom - height - 6), (left + width + 4, bottom), colour, cv2.FILLED
            )
            cv2.putText(image, label, (left + 2, bottom - 4), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    if not cv2.imwrite(str(out), image):
        raise SystemExit(f"demo: {out} cannot be written")


async def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path, default=ROOT / "models" / "astronaut.jpg")
    parser.add_argument("--out", type=Path, default=Path("demo.jpg"))
    options = parser.parse_args()
    async with service() as address:
        result = await look_at(options.photo.read_bytes(), address)
    print(describe(result))
    draw(options.photo, result, options.out)
    print(f"drawn in {options.out}")
    return 0 if result.faces and result.bodies else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
