"""What people see: on a terminal of their own."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from .conftest import COMMAND, EVEN, PHOTO, make_video

Terminal = Callable[..., tuple[str, int]]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(environment: dict[str, str]) -> Terminal:
    """Run the command on a terminal; return what was written, without colours, and the exit code."""

    def run(
        *arguments: str | Path, columns: int = 100, files: tuple[int, ...] = (0, 1, 2)
    ) -> tuple[str, int]:
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        pid = os.posix_spawn(
            COMMAND[0],
            [*COMMAND, *map(str, arguments)],
            environment | {"TERM": "xterm-256color"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, side, number)
                if number in files
                else (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0)
                for number in (0, 1, 2)
            ],
            setsid=True,
        )
        os.close(side)
        written = b""
        try:
            while chunk := os.read(main, 65536):
                written += chunk
        except OSError:  # EIO: nobody has the terminal any more
            pass
        os.close(main)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return CONTROL.sub("", written.decode()).replace("\r\n", "\n"), code

    return run


def test_a_table_of_images(terminal: Terminal, tmp_path: Path) -> None:
    """A row each; what could not be answered below."""
    (tmp_path / "note.jpg").write_text("hello")
    Image.new("RGB", (64, 64)).save(tmp_path / "nobody.png")
    written, code = terminal("detect", PHOTO, tmp_path, columns=200)
    assert code == 1
    assert re.search(r"image +people +faces +bodies +level +density +ms\n", written)
    assert re.search(r"astronaut\.jpg +\d+ +\d+ +\d+ +(low|medium) +0\.\d\d", written)
    assert re.search(r"nobody\.png +0 +0 +0 +empty", written)
    assert "note.jpg: not a JPEG, PNG or WebP image" in written
    assert "1 of 3 images could not be answered" in written


def test_tables_of_models_and_statistics(terminal: Terminal) -> None:
    """And health in words."""
    models, _ = terminal("models")
    assert re.search(r"file +ships with the service +ships with the service", models)
    stats, _ = terminal("stats")
    assert re.search(r"frames answered +[\d,]+", stats)
    health, code = terminal("health")
    assert health.strip().endswith("is serving")
    assert code == 0


def test_a_progress_bar_and_a_summary(terminal: Terminal, tmp_path: Path) -> None:
    """With rate and time left; no JSON between."""
    written, code = terminal("stream", make_video(tmp_path / "walk.mp4", EVEN))
    assert code == 0
    assert re.search(r"25 frames +\d+\.\d/s .* \d+ % .* left", written)
    assert "25 of 25 frames answered" in written
    assert "{" not in written


def test_a_chart_of_the_people_seen(terminal: Terminal, tmp_path: Path) -> None:
    """It stays when the video is over."""
    written, code = terminal("stream", make_video(tmp_path / "walk.mp4", EVEN), "--watch")
    assert code == 0
    assert re.search(r"people +\d+ now +(empty|low|medium)", written)
    assert "4 ┤" in written
    assert "└───" in written
    assert re.search("[\u2801-\u28ff]", written)


def test_a_chart_is_as_wide_as_its_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """Though neither input nor output are on it."""
    video = make_video(tmp_path / "walk.mp4", EVEN)
    written, code = terminal("stream", video, "--watch", columns=50, files=(2,))
    assert code == 0
    (axis, *_) = (line for line in written.splitlines() if "└" in line)
    assert len(axis.strip("\r")) == 50


def test_json_on_a_terminal_is_only_that(terminal: Terminal, tmp_path: Path) -> None:
    """Nothing moves between the lines, and a chart has no place there."""
    video = make_video(tmp_path / "walk.mp4", EVEN[:2])
    written, _ = terminal("stream", video, "--json")
    assert [line[:1] for line in written.splitlines()] == ["{", "{", "2"]
    written, code = terminal("stream", video, "--json", "--watch")
    assert code == 2
    assert "--watch draws on a terminal" in written
