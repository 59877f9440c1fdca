"""An annotated video can be watched whatever ended its writing."""

import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.reformatter import ColorRange, VideoReformatter
from crowd_detector.cli.encoding import to_image
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.video import VideoWriter, complete_length, even
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from .conftest import UNEVEN, times_of

CLOCK = Fraction(1, 1000)
WRITE_AND_DIE = """
import os, sys
from fractions import Fraction
from pathlib import Path
from PIL import Image
from crowd_detector.cli.video import VideoWriter
writer = VideoWriter(Path(sys.argv[1]))
for time in range(0, 12_000, int(sys.argv[2])):
    writer.write(Image.effect_noise((160, 120), 64), time, Fraction(1, 1000))
os.kill(os.getpid(), 9)
"""


def test_times_are_kept(tmp_path: Path) -> None:
    """However uneven they are."""
    writer = VideoWriter(tmp_path / "new" / "video.mp4")
    for time in UNEVEN:
        writer.write(Image.new("RGB", (64, 48)), time, CLOCK)
    writer.close()
    assert times_of(tmp_path / "new" / "video.mp4") == [time / 1000 for time in UNEVEN]


def test_a_size_that_changes_and_one_that_is_odd(tmp_path: Path) -> None:
    """The first picture's counts; H.264 stores even sizes."""
    writer = VideoWriter(tmp_path / "video.mp4")
    for number, size in enumerate([(65, 49), (128, 96), (1, 1)]):
        writer.write(Image.new("RGB", size), number * 40, CLOCK)
    writer.close()
    assert len(times_of(tmp_path / "video.mp4")) == 3


def test_colours_and_the_shape_of_pixels_are_kept(tmp_path: Path) -> None:
    """And said, so that no player has to guess; a name with a colon is a name."""
    path = tmp_path / "12:30.mp4"
    writer = VideoWriter(path)
    for time in (0, 40):
        writer.write(Image.new("RGB", (64, 48), (200, 40, 30)), time, CLOCK, Fraction(4, 3))
    writer.close()
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    assert frame.color_range == ColorRange.MPEG
    pixel = to_image(frame, VideoReformatter()).getpixel((32, 24))
    assert isinstance(pixel, tuple)
    assert all(abs(one - other) < 6 for one, other in zip(pixel, (200, 40, 30), strict=True))


def test_nothing_written_is_no_file(tmp_path: Path) -> None:
    """Rather than an empty one."""
    VideoWriter(tmp_path / "video.mp4").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gap", [40, 1000])
def test_killed_without_a_word(tmp_path: Path, gap: int) -> None:
    """All but the last second is there, however many pictures that is."""
    path = tmp_path / "video.mp4"
    done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path), str(gap)], check=False)
    assert done.returncode == -9
    assert times_of(path)[-1] >= (12_000 - gap) / 1000 - 1.001


def test_a_full_disk_leaves_what_was_written(tmp_path: Path) -> None:
    """And says so."""
    path = tmp_path / "video.mp4"
    writer = VideoWriter(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(Failure, match="File too large") as failure:
            for number in range(1000):
                writer.write(Image.effect_noise((160, 120), 64), number * 40, CLOCK)
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failure.value.code is ExitCode.OUTPUT
    assert times_of(path)[-1] > 0.9
    assert path.stat().st_size <= 300_000


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where it should be."""
    (tmp_path / "file").touch()
    with pytest.raises(Failure) as failure:
        VideoWriter(tmp_path / "file" / "video.mp4").write(Image.new("RGB", (64, 48)), 0, CLOCK)
    assert failure.value.code is ExitCode.OUTPUT


def box(kind: bytes, content: bytes) -> bytes:
    """Make a box of an MP4."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


@given(
    boxes=st.lists(
        st.tuples(st.sampled_from([b"moof", b"mdat"]), st.binary(max_size=9)), max_size=5
    ),
    cut=st.integers(0, 60),
)
def test_complete_boxes(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[bytes, bytes]], cut: int
) -> None:
    """As many as fit, without a fragment's head that lost its data."""
    path = tmp_path_factory.getbasetemp() / "boxes.mp4"
    written = [box(b"ftyp", b"iso5"), *(box(kind, content) for kind, content in boxes)]
    content = b"".join(written)[: 12 + cut]
    path.write_bytes(content)
    length = complete_length(path)
    ends = {sum(map(len, written[: n + 1])): written[n][4:8] for n in range(len(written))}
    assert length <= len(content)
    assert ends[length] != b"moof"
    assert not [
        end for end, kind in ends.items() if length < end <= len(content) and kind != b"moof"
    ]


@given(st.integers(1, 10_000))
def test_even(length: int) -> None:
    """And as near as can be."""
    assert even(length) % 2 == 0
    assert even(length) - length in (0, -1) or length == 1
