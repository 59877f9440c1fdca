"""What a video source is called."""

from pathlib import Path

import pytest
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.sources import Source, parse
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("name", ["1", "camera:1", "/dev/video1"])
def test_a_camera(name: str) -> None:
    """By its number, in each way that people write it."""
    assert parse(name, {}, "linux") == Source("camera1", "/dev/video1", "video4linux2", live=True)


@pytest.mark.parametrize(
    ("address", "name", "live", "maybe"),
    [
        ("rtsp://user:secret@cam.local:554/live/1", "cam.local-554-live-1", True, False),
        ("http://host/walk.mp4?x=1", "host-walk.mp4-x-1", False, True),
        ("udp://239.0.0.1:1234", "239.0.0.1-1234", True, False),
    ],
)
def test_an_address(address: str, name: str, live: bool, maybe: bool) -> None:
    """Its name holds no password; over HTTP, the length says whether it is live."""
    source = parse(address, {}, "linux")
    assert (source.name, source.live, source.maybe_live) == (name, live, maybe)
    assert source.url == address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:p@ss@cam.local/live", "rtsp://cam.local/live"),
        ("rtsp://cam.local/live@1", "rtsp://cam.local/live@1"),
        ("-", "standard input"),
    ],
)
def test_sentences_hold_no_password(address: str, shown: str) -> None:
    """Nor FFmpeg's own words."""
    assert parse(address, {}, "linux").shown == shown


def test_the_screen() -> None:
    """Under X11; elsewhere one sentence."""
    assert parse("screen", {"DISPLAY": ":1"}, "linux").format == "x11grab"
    with pytest.raises(Failure, match="DISPLAY is not set"):
        parse("screen", {}, "linux")


def test_a_file(tmp_path: Path) -> None:
    """Its name without the suffix."""
    path = tmp_path / "walk.mp4"
    path.touch()
    assert parse(str(path), {}) == Source("walk", f"file:{path}")


@pytest.mark.parametrize("name", ["nowhere.mp4", "."])
def test_what_is_no_source_is_told_what_is(name: str) -> None:
    """Wrong usage."""
    with pytest.raises(Failure, match="a source is a video file, a camera") as failure:
        parse(name, {}, "linux")
    assert failure.value.code is ExitCode.USAGE


def test_an_empty_name() -> None:
    """Is a variable that was not set, rather than the current folder."""
    with pytest.raises(Failure, match="an empty name is no source") as failure:
        parse("", {}, "linux")
    assert failure.value.code is ExitCode.USAGE


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_name_for_files_holds_no_folder(rest: str) -> None:
    """Whatever the address."""
    name = parse(f"rtsp://{rest}", {}, "linux").name
    assert 0 < len(name) <= 60
    assert Path(name).name == name
    assert not name.startswith(".")
