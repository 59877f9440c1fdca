"""Videos as they are: uneven, lying on their side, cut off, silent, empty."""

import gc
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import sleep

import av
import pytest
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from crowd_detector.cli.encoding import Encoder, to_image
from crowd_detector.cli.encoding_names import Encoding
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.reader import Picture, Reader, sampled
from crowd_detector.cli.sources import parse
from hypothesis import given
from hypothesis import strategies as st

from .conftest import CLOCKWISE, EVEN, PHOTO, UNEVEN, make_video


def open_video(path: Path) -> Reader:
    """Open it as the command does."""
    return Reader(parse(str(path), {}))


def read(path: Path) -> tuple[list[Picture], Failure | None]:
    """Return all pictures, and what was said at the end."""
    pictures = []
    try:
        for picture in open_video(path).pictures():
            pictures.append(picture)  # noqa: PERF402 - what came before a failure counts
    except Failure as failure:
        return pictures, failure
    return pictures, None


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_times_are_the_videos_own(tmp_path: Path, container: str) -> None:
    """From the first picture on, however uneven, and wherever they start."""
    path = make_video(tmp_path / "video", UNEVEN, container=container)
    pictures, failure = read(path)
    assert failure is None
    assert [round(picture.time, 3) for picture in pictures] == [time / 1000 for time in UNEVEN]
    assert [picture.number for picture in pictures] == list(range(1, 11))


def test_pictures_are_upright(tmp_path: Path) -> None:
    """As the metadata say."""
    pictures, _ = read(make_video(tmp_path / "phone.mp4", (0, 40), matrix=CLOCKWISE))
    assert {(picture.frame.width, picture.frame.height) for picture in pictures} == {(144, 192)}


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_that_is_cut_off(tmp_path: Path, container: str) -> None:
    """Gives the pictures that it holds, and then says so."""
    path = make_video(tmp_path / "video", range(0, 6000, 40), container=container)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    pictures, failure = read(path)
    assert 20 < len(pictures) < 149
    assert failure is not None
    assert failure.code is ExitCode.SOURCE
    assert "broken or cut off" in str(failure)
    assert f"{len(pictures)} pictures could be read" in str(failure)


def test_two_videos_in_one(tmp_path: Path) -> None:
    """The second begins where the first ends, though its own clock begins anew."""
    path = make_video(tmp_path / "video.ts", range(0, 3000, 40), container="mpegts")
    path.write_bytes(path.read_bytes() * 2)
    pictures, _ = read(path)
    assert len(pictures) >= 148
    assert pictures[-1].time == pytest.approx(6, abs=0.2)


def test_a_camera_that_sends_images(tmp_path: Path) -> None:
    """Which have no times: FFmpeg's would be 1/25 s apart, whenever they came."""
    path = tmp_path / "camera"
    part = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
    photo = PHOTO.read_bytes()
    path.write_bytes(part % (len(photo), photo) * 5)
    source = replace(parse(str(path), {}), format="mpjpeg", live=True)
    pictures = Reader(source).pictures()
    next(pictures)
    sleep(0.5)  # the camera waits
    assert next(pictures).time >= 0.5


def test_a_records_cover_is_no_video(tmp_path: Path) -> None:
    """Nor a camera of one picture."""
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", options={"strict": "unofficial"})
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        output.mux(cover.encode(None))
    with pytest.raises(Failure, match="holds no video, only a cover"):
        open_video(path)


@pytest.mark.parametrize("matrix", [None, CLOCKWISE])
def test_pixels_that_are_not_square(tmp_path: Path, matrix: tuple[int, ...] | None) -> None:
    """Their shape is the picture's, upright as it is."""
    path = make_video(tmp_path / "wide.mp4", (0, 40), matrix=matrix, aspect=Fraction(4, 3))
    pictures, _ = read(path)
    expected = Fraction(4, 3) if matrix is None else Fraction(3, 4)
    assert {picture.aspect for picture in pictures} == {expected}


def silent_film_without_film(path: Path) -> None:
    """Write sound alone."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))


def video_without_pictures(path: Path) -> None:
    """Write a stream's head and nothing of its body."""
    make_video(path, EVEN[:3], container="mpegts")
    content = path.read_bytes()
    path.write_bytes(content[: 188 * 3])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (silent_film_without_film, "holds no video, only audio"),
        (lambda path: path.write_text("hello " * 1000), "cannot be opened as a video: invalid"),
        (lambda path: path.touch(), "cannot be opened as a video"),
        (video_without_pictures, "video"),
    ],
)
def test_what_is_no_video_is_said(tmp_path: Path, make: object, words: str) -> None:
    """By name, at once."""
    path = tmp_path / "video"
    assert callable(make)
    make(path)
    with pytest.raises(Failure) as raised:
        list(open_video(path).pictures())
    failure = raised.value
    assert failure.code is ExitCode.SOURCE
    assert str(failure).startswith(str(path))
    assert words in str(failure)


def test_the_length_is_known_for_the_progress_bar(tmp_path: Path) -> None:
    """And so is that it is a recording."""
    reader = open_video(make_video(tmp_path / "video.mp4", EVEN))
    assert reader.duration == pytest.approx(1.0, abs=0.1)
    assert not reader.live


@pytest.mark.parametrize("matrix", [None, CLOCKWISE])
def test_no_picture_is_kept(tmp_path: Path, matrix: tuple[int, ...] | None) -> None:
    """Once it is used it is gone, without the garbage collector's help."""
    path = make_video(tmp_path / "walk.mp4", range(0, 4000, 40), matrix=matrix)
    gc.collect()
    gc.disable()
    try:
        encode = Encoder(Encoding.RAW, "localhost:1")
        for picture in open_video(path).pictures():
            encode(picture.frame)
            to_image(picture.frame, VideoReformatter())
        kept = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert kept < 10


@given(st.lists(st.integers(1, 200), max_size=60), st.sampled_from([1, 5, 7.5, 24, 1000]))
def test_sampling(gaps: list[int], rate: float) -> None:
    """Never more than the rate in the long run; the first picture always; all where it is 0."""
    times, now = [], 0
    for gap in gaps:
        times.append(now)
        now += gap
    frame = av.VideoFrame(16, 16, "rgb24")
    pictures = [Picture(frame, n + 1, time, Fraction(1, 1000)) for n, time in enumerate(times)]
    taken = list(sampled(iter(pictures), rate))
    assert taken[:1] == pictures[:1]
    assert list(sampled(iter(pictures), 0)) == pictures
    if taken:
        assert len(taken) <= (times[-1] / 1000) * rate + 1 + 1e-6
