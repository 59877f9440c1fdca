"""What the command's tests share: one service for all, the command as a process, small videos."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.servers import ROOT

PHOTO = ROOT / "models" / "astronaut.jpg"
COMMAND = [sys.executable, "-m", "crowd_detector.cli"]

#: A video's picture times, in 1/1000 s.
EVEN = tuple(range(0, 1000, 40))
UNEVEN = (0, 40, 55, 300, 310, 320, 900, 2400, 2410, 2415)
#: A quarter turn clockwise, as phones write it: what is stored lies on its left side.
CLOCKWISE = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A real service for all tests of the command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "detector_service"],
        env=os.environ
        | {"HOST": "127.0.0.1", "GRPC_PORT": "0", "ADMIN_PORT": "off", "LOG_FILE": os.devnull},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "service.serving" in line)
        yield line.partition('"address": "')[2].partition('"')[0]
    finally:
        process.terminate()
        process.stderr.read()
        process.stderr.close()
        process.wait(30)


@pytest.fixture
def environment(server: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a user who has set nothing but where the service is."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")}
    return clean | {"DETECTOR_SERVER": server, "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def detector(environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the command as a user does; `variables` come on top of the environment."""

    def run(
        *arguments: str | Path,
        stdin: bytes | None = None,
        before: Callable[[], object] | None = None,
        folder: Path | None = None,
        **variables: str,
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            env=environment | variables,
            preexec_fn=before,
            cwd=folder,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


def make_video(
    path: Path,
    times: Sequence[int] = EVEN,
    *,
    size: tuple[int, int] = (192, 144),
    container: str = "mp4",
    matrix: Sequence[int] | None = None,
    move: bool = True,
    aspect: Fraction = Fraction(1),
) -> Path:
    """Write a video of the photograph, with a picture at each of these times (1/1000 s)."""
    photo = Image.open(PHOTO).convert("RGB").resize(size)
    options = {"movflags": "faststart"} if container == "mp4" else {}
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream("libx264", options={"bf": "0", "g": "10"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = aspect
        for number, time in enumerate(times):
            picture = photo.copy()
            if move:
                picture.paste((40, 60, 90), (0, 0, number % size[0] // 4 + 1, 8))
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    if matrix is not None:
        content = path.read_bytes()
        upright = b"".join(n.to_bytes(4, "big", signed=True) for n in (65536, 0, 0, 0, 65536))
        turned = b"".join(n.to_bytes(4, "big", signed=True) for n in matrix[:5])
        at = content.index(upright, content.index(b"tkhd"))  # the first such matrix is the movie's
        path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    return path


def times_of(path: Path) -> list[float]:
    """Return the times of a video's pictures, from the first on; each is decoded."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    return [round(time - times[0], 4) for time in times]
