"""Start the service, send it a photograph on a stream, print what it found, and draw it.

    python clients/python/examples/demo.py [PHOTO] [--out demo.jpg]

Exit codes: 0 where a person and a face were found, 1 otherwise.
"""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from crowd_detector import DetectorClient, DetectorError, FrameError, Result
from crowd_detector.cli.annotate import annotated
from PIL import Image, ImageOps

ROOT: Final = Path(__file__).resolve().parents[3]
READY_SECONDS: Final = 60
LOOK_SECONDS: Final = 0.5  # between two looks at whether the service still runs


@contextmanager
def service() -> Iterator[str]:
    """Run a service of its own on a free port; give its address once it serves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ports = {"GRPC_PORT": str(port), "ADMIN_PORT": "off"}
    mine = {"HOST": "127.0.0.1", "LOG_LEVEL": "WARNING", **ports}
    process = subprocess.Popen([sys.executable, "-m", "detector_service"], env=os.environ | mine)
    try:
        wait_for(process, f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(process: "subprocess.Popen[bytes]", address: str) -> None:
    """Wait until a service is ready, or has ended."""
    with DetectorClient(address) as client:
        for _ in range(round(READY_SECONDS / LOOK_SECONDS)):
            try:
                return client.wait_until_ready(LOOK_SECONDS)
            except DetectorError as error:
                if process.poll() is not None:
                    sentence = f"demo: the service ended with exit code {process.returncode}"
                    raise SystemExit(sentence) from error
    raise SystemExit("demo: the service did not become ready in a minute")


def look_at(photo: Path, address: str) -> Result:
    """Stream one photograph through the service; return what was found in it."""
    with DetectorClient(address) as client, client.stream([photo]) as answers:
        answer = next(answers)
    if isinstance(answer, FrameError):
        raise SystemExit(f"demo: {photo}: {answer}")
    return answer


def describe(result: Result) -> str:
    """Say what was found, for people."""
    crowd, times = result.crowd, result.stage_times
    level = crowd.level.value.replace("_", " ")
    counts = f"{crowd.total_people} people: {crowd.face_count} faces, {crowd.body_count} bodies"
    lines = [f"{counts}; crowd level {level}, density {crowd.density_score:.2f}"]
    for kind, detections in (("face", result.faces), ("body", result.bodies)):
        lines += [
            f"  {kind} {found.confidence:.2f} from ({found.box.x1:.0f}, {found.box.y1:.0f}) "
            f"to ({found.box.x2:.0f}, {found.box.y2:.0f})"
            for found in detections
        ]
    stages = (times.decode, times.inference, times.post_processing)
    decode, model, rest = (round(seconds * 1000, 1) for seconds in stages)
    lines.append(f"  in {sum(stages) * 1000:.1f} ms: decoding {decode}, model {model}, rest {rest}")
    return "\n".join(lines)


def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path, default=ROOT / "models" / "astronaut.jpg")
    parser.add_argument("--out", type=Path, default=Path("demo.jpg"))
    options = parser.parse_args()
    if options.out.suffix.lower() not in Image.registered_extensions():
        parser.error(f"--out {options.out}: its name does not end like an image's: .jpg, .png")
    try:
        with service() as address:
            result = look_at(options.photo, address)
        print(describe(result))
        with Image.open(options.photo) as photo:
            annotated(ImageOps.exif_transpose(photo), result).save(options.out)
    except (DetectorError, OSError) as error:
        raise SystemExit(f"demo: {error}") from error
    print(f"Drawn in {options.out}.")
    print("Next: `make run`, and in another terminal `.venv/bin/detector stream 0 --watch` with a")
    print("camera, or `.venv/bin/detector detect PHOTO --save out` with a photograph of yours.")
    return 0 if result.faces and result.bodies else 1


if __name__ == "__main__":
    sys.exit(main())
