"""`detector stream`, as a process against a real service."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from av.video.reformatter import VideoReformatter
from crowd_detector.cli.encoding import to_image
from crowd_detector.cli.orientation import Upright
from PIL import ImageChops

from tests.servers import service_process

from .conftest import CLOCKWISE, COMMAND, EVEN, UNEVEN, make_video, times_of

Detector = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_every_frame_of_a_file_is_answered(
    detector: Detector, tmp_path: Path, encoding: str
) -> None:
    """In order, with its own time and number, however it is sent; people are found in all."""
    video = make_video(tmp_path / "walk.mp4", UNEVEN, size=(320, 240))
    done = detector("stream", video, "--encoding", encoding)
    assert done.returncode == 0, done.stderr
    answers = lines(done.stdout)
    assert [answer["pts"] for answer in answers] == [time / 1000 for time in UNEVEN]
    assert [answer["frame_id"] for answer in answers] == [str(n) for n in range(1, 11)]
    assert {answer["camera"] for answer in answers} == {"walk"}
    assert all(answer["crowd"]["face_count"] for answer in answers)
    assert "10 of 10 frames answered" in done.stderr


@pytest.mark.parametrize("size", [(191, 143), (190, 143), (64, 64)])
def test_odd_sizes(detector: Detector, tmp_path: Path, size: tuple[int, int]) -> None:
    """Which cannot be sent as NV12."""
    video = tmp_path / "odd.mkv"
    with av.open(str(video), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        output.mux(stream.encode(av.VideoFrame(*size, "bgr0")))
        output.mux(stream.encode(None))
    done = detector("stream", video, "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [(a["width"], a["height"]) for a in lines(done.stdout)] == [size]
    assert len(times_of(tmp_path / "out" / "odd-annotated.mp4")) == 1


def test_the_annotated_video(detector: Detector, tmp_path: Path) -> None:
    """Upright, with the times of the original, and something drawn."""
    video = make_video(tmp_path / "phone.mp4", UNEVEN, size=(320, 240), matrix=CLOCKWISE)
    done = detector("stream", video, "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    saved = tmp_path / "out" / "phone-annotated.mp4"
    assert f"annotated in {saved}" in done.stderr
    assert times_of(saved) == [time / 1000 for time in UNEVEN]
    assert {(a["width"], a["height"]) for a in lines(done.stdout)} == {(240, 320)}
    with av.open(str(saved)) as container:
        picture = to_image(next(container.decode(video=0)), VideoReformatter())
    assert picture.size == (240, 320)
    with av.open(str(video)) as container:
        original = to_image(Upright()(next(container.decode(video=0))), VideoReformatter())
    banner = ImageChops.difference(picture, original).crop((0, 0, 160, 12))
    assert sum(banner.convert("L").histogram()[100:]) > 20  # pixels that are quite another


def test_sampling(detector: Detector, tmp_path: Path) -> None:
    """So many frames a second of the video's own time."""
    done = detector("stream", make_video(tmp_path / "walk.mp4", EVEN), "--max-fps", "5")
    assert [answer["frame_id"] for answer in lines(done.stdout)] == ["1", "6", "11", "16", "21"]


def test_frames_that_would_be_late(detector: Detector, tmp_path: Path) -> None:
    """No answer is there within a millisecond; within a minute all are, and no priority is in the way."""
    video = make_video(tmp_path / "walk.mp4", EVEN)
    hurried = detector("stream", video, "--max-age", "0.001")
    assert len(lines(hurried.stdout)) < len(EVEN)
    assert "late" in hurried.stderr
    patient = detector("stream", video, "--max-age", "60", "--priority", "100")
    assert len(lines(patient.stdout)) == len(EVEN)
    wrong = detector("stream", video, "--priority", "101")
    assert wrong.returncode == 2
    assert "--priority" in wrong.stderr


def test_standard_input(detector: Detector, tmp_path: Path) -> None:
    """A video from a pipe."""
    video = make_video(tmp_path / "walk.ts", EVEN, container="mpegts")
    done = detector("stream", "-", stdin=video.read_bytes())
    assert done.returncode == 0, done.stderr
    assert len(lines(done.stdout)) == len(EVEN)


def test_what_was_looked_at_is_never_replaced(detector: Detector, tmp_path: Path) -> None:
    """The annotated video has a name of its own; a link that bears it leads to wrong usage."""
    video = make_video(tmp_path / "walk.mkv", EVEN[:2], container="matroska")
    (tmp_path / "walk.mp4").write_text("of another day")
    before = video.read_bytes()
    assert detector("stream", video, "--save", tmp_path).returncode == 0
    assert (tmp_path / "walk.mp4").read_text() == "of another day"
    assert len(times_of(tmp_path / "walk-annotated.mp4")) == 2
    (tmp_path / "walk-annotated.mp4").unlink()
    (tmp_path / "walk-annotated.mp4").symlink_to(video)
    done = detector("stream", video, "--save", tmp_path)
    assert (done.returncode, video.read_bytes()) == (2, before)
    assert "save to another folder" in done.stderr


def test_a_video_that_is_cut_off_is_5(detector: Detector, tmp_path: Path) -> None:
    """What it holds is answered and saved."""
    video = make_video(tmp_path / "cut.mp4", range(0, 4000, 40))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    done = detector("stream", video, "--save", tmp_path / "out")
    answered = len(lines(done.stdout))
    assert done.returncode == 5
    assert 10 < answered < 100
    assert f"broken or cut off; {answered} pictures" in done.stderr
    assert len(times_of(tmp_path / "out" / "cut-annotated.mp4")) == answered


def test_a_full_disk_is_6(detector: Detector, tmp_path: Path) -> None:
    """The video ends there, and can be watched."""
    video = make_video(tmp_path / "walk.mp4", range(0, 8000, 40))

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = detector("stream", video, "--save", tmp_path / "out", before=limit)
    assert done.returncode == 6
    assert f"detector: {tmp_path / 'out' / 'walk-annotated.mp4'}: File too large\n" in done.stderr
    assert 10 < len(times_of(tmp_path / "out" / "walk-annotated.mp4")) < 200


@contextmanager
def unplugged(content: bytes, *, announced: bool = False) -> Iterator[str]:
    """A camera behind an HTTP server, which sends so much and then nothing more."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            if announced:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/camera.ts"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_recording_behind_an_address(detector: Detector, tmp_path: Path) -> None:
    """It says its length: every frame is answered, and its end is no loss."""
    content = make_video(tmp_path / "walk.ts", EVEN, container="mpegts").read_bytes()
    with unplugged(content, announced=True) as address:
        done = detector("stream", address)
    assert done.returncode == 0, done.stderr
    assert len(lines(done.stdout)) == len(EVEN)


def test_a_name_with_a_colon(detector: Detector, tmp_path: Path) -> None:
    """Of a file and of its folder."""
    video = make_video(tmp_path / "walk.mp4", EVEN[:2]).rename(tmp_path / "12:30.mp4")
    done = detector("stream", video.name, "--save", "on:monday", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(times_of(tmp_path / "on:monday" / "12:30-annotated.mp4")) == 2


def test_a_camera_that_is_unplugged_is_5(detector: Detector, tmp_path: Path) -> None:
    """What came before is answered and saved, the name of the file says when."""
    video = make_video(tmp_path / "camera.ts", range(0, 4000, 40), container="mpegts")
    content = video.read_bytes()
    with unplugged(content[: len(content) // 2]) as address:
        done = detector("stream", address, "--save", tmp_path / "out")
    assert done.returncode == 5
    assert f"{address} gives no more pictures; was it unplugged or switched off?" in done.stderr
    (saved,) = (tmp_path / "out").iterdir()
    assert len(times_of(saved)) == len(lines(done.stdout)) >= 1


def test_an_address_where_nothing_listens_is_5(detector: Detector) -> None:
    """The source's fault, not the service's."""
    done = detector("stream", "rtsp://me:secret@127.0.0.1:9/camera")
    assert "secret" not in done.stderr
    assert done.returncode == 5
    assert (
        "rtsp://127.0.0.1:9/camera cannot be opened as a video: connection refused" in done.stderr
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_leaves_a_valid_video_and_a_summary(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """In the middle of a video that has no end."""
    pipe = tmp_path / "endless.ts"
    os.mkfifo(pipe)
    content = make_video(tmp_path / "some.ts", range(0, 4000, 40), container="mpegts").read_bytes()
    process = subprocess.Popen(
        [*COMMAND, "stream", str(pipe), "--save", str(tmp_path / "out")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with pipe.open("wb", buffering=0) as camera:  # stays open: the command waits for more
        feeding = threading.Thread(target=camera.write, args=(content,))
        feeding.start()
        before = [process.stdout.readline() for _ in range(10)]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
        feeding.join(60)
    assert process.returncode == code
    assert "frames answered" in errors
    assert errors.endswith("detector: stopped\n")
    answers = lines("".join(before) + rest)
    assert len(times_of(tmp_path / "out" / "endless-annotated.mp4")) in (
        len(answers),
        len(answers) - 1,
    )


def test_ctrl_c_while_a_source_is_opened(environment: dict[str, str]) -> None:
    """As at any other time, though FFmpeg waits to learn what it is that arrives."""
    process = subprocess.Popen(
        [*COMMAND, "stream", "-"],
        env=environment,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(bytes(100_000))  # more than a pipe holds: it is being read
    process.send_signal(signal.SIGINT)
    with process.stdin, process.stdout, process.stderr:  # it stays open meanwhile
        written = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 130
    assert written == (b"", b"detector: stopped\n")


def test_a_reader_that_has_seen_enough(environment: dict[str, str], tmp_path: Path) -> None:
    """As in `detector stream walk.mp4 | head -1`: a quiet end."""
    video = make_video(tmp_path / "walk.mp4", range(0, 8000, 40))
    process = subprocess.Popen(
        [*COMMAND, "stream", str(video)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert "detector:" not in errors


async def test_a_service_that_is_restarted(environment: dict[str, str], tmp_path: Path) -> None:
    """The command says so, and answers every frame."""
    video = make_video(tmp_path / "walk.mp4", range(0, 16_000, 40))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    async with service_process(GRPC_PORT=port) as first:
        await first.serves()
        command = await asyncio.create_subprocess_exec(
            *COMMAND,
            "stream",
            str(video),
            env=environment | {"DETECTOR_SERVER": f"127.0.0.1:{port}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert command.stdout is not None
        assert command.stderr is not None
        answers = await command.stdout.readline()
        first.signal(signal.SIGKILL)
        await first.process.wait()
    async with asyncio.timeout(60):
        errors = await command.stderr.readline()  # the service is away until it was told
        async with service_process(GRPC_PORT=port) as second:
            await second.serves()
            rest, more = await command.communicate()
    assert command.returncode == 0, more
    assert errors.startswith(b"detector: trying again for up to a minute: ")
    told, summary = more.decode().splitlines()[:-1], more.decode().splitlines()[-1]
    assert told == []  # once for each outage
    assert "400 of 400 frames answered" in summary
    assert [answer["frame_id"] for answer in lines((answers + rest).decode())] == [
        str(n) for n in range(1, 401)
    ]
