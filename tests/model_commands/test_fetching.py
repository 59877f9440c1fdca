"""What is fetched is whole and the right file, or is not there; what was interrupted goes on."""

import errno
import hashlib
import json
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from detector_service.model_commands import fetching
from detector_service.model_commands.catalogue import Source
from detector_service.model_commands.fetching import FetchError, OfflineError, fetch
from tests.model_commands.conftest import Detector, Files


def source(files: Files, name: str = "best.pt") -> Source:
    """Return the address of a file and what it holds."""
    return Source.of(f"{files.address}/v1/{name}", hashlib.sha256(files.content).hexdigest())


def quietly(_there: int, _total: int | None) -> None:
    """Tell nobody of the progress."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the file should be: in a folder that is not there yet."""
    return tmp_path / "models" / "best.pt"


def test_a_file_comes_whole(files: Files, target: Path) -> None:
    """Once; the second time it is there. Nothing else is left beside it."""
    told: list[tuple[int, int | None]] = []
    assert fetch(source(files), target, lambda there, total: told.append((there, total)))
    assert target.read_bytes() == files.content
    assert (told[0], told[-1]) == ((0, len(files.content)), (len(files.content),) * 2)
    assert not fetch(source(files), target, quietly)
    assert files.asked == [""]
    assert list(target.parent.iterdir()) == [target]


def test_what_broke_off_goes_on_where_it_ended(files: Files, target: Path) -> None:
    """As often as it takes; until then nothing lies at the target."""
    files.breaks_after = 400_000
    for _ in range(2):
        with pytest.raises(OfflineError, match="the same command goes on from there"):
            fetch(source(files), target, quietly)
        assert not target.exists()
    assert fetch(source(files), target, quietly)
    assert target.read_bytes() == files.content
    assert files.asked == ["", "bytes=400000-", "bytes=800000-"]


def test_a_file_that_lies_elsewhere_is_followed(files: Files, target: Path) -> None:
    """As GitHub's releases do, also where it goes on."""
    elsewhere = Source.of(f"{files.address}/moved/best.pt", source(files).sha256)
    files.breaks_after = 600_000
    with pytest.raises(OfflineError):
        fetch(elsewhere, target, quietly)
    fetch(elsewhere, target, quietly)
    assert target.read_bytes() == files.content
    assert files.asked == ["", "", "bytes=600000-", "bytes=600000-"]


def test_a_server_that_knows_no_ranges_begins_anew(files: Files, target: Path) -> None:
    """What had come is thrown away, and not put before it."""
    files.breaks_after = 400_000
    with pytest.raises(OfflineError):
        fetch(source(files), target, quietly)
    files.breaks_after, files.knows_ranges = None, False
    fetch(source(files), target, quietly)
    assert target.read_bytes() == files.content


def test_what_is_complete_and_was_not_moved_is_taken(files: Files, target: Path) -> None:
    """As after a power cut between the last byte and the renaming: the server has nothing to add."""
    target.parent.mkdir()
    wanted = source(files)
    (target.parent / f".best.pt.{wanted.sha256[:16]}.part").write_bytes(files.content)
    fetch(wanted, target, quietly)
    assert target.read_bytes() == files.content


@pytest.mark.parametrize("left", [b"", b"of another file"])
def test_another_file_is_thrown_away(files: Files, target: Path, left: bytes) -> None:
    """Whether it came so, or what had come before was wrong; another attempt begins anew."""
    wanted = source(files)
    if left:
        target.parent.mkdir()
        (target.parent / f".best.pt.{wanted.sha256[:16]}.part").write_bytes(left)
    else:
        files.content = files.content[::-1]
    with pytest.raises(FetchError, match="it was thrown away"):
        fetch(wanted, target, quietly)
    assert list(target.parent.iterdir()) == []


def test_nothing_that_lies_there_is_replaced(files: Files, target: Path) -> None:
    """A user's own file of the same name stays."""
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(FetchError, match="another file lies there"):
        fetch(source(files), target, quietly)
    assert target.read_text() == "mine"
    assert files.asked == []


def test_two_do_not_write_into_one_file(files: Files, target: Path) -> None:
    """The second is told of the first."""
    target.parent.mkdir()
    wanted = source(files)
    part = target.parent / f".best.pt.{wanted.sha256[:16]}.part"
    with fetching._held(part), pytest.raises(FetchError, match="another process is fetching"):
        fetch(wanted, target, quietly)


def test_a_server_that_is_not_there_or_refuses(files: Files, target: Path) -> None:
    """Is named; nothing is left."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/best.pt"
        with pytest.raises(OfflineError, match=r"cannot be reached .*offline"):
            fetch(Source.of(address, "0" * 64), target, quietly)
    with pytest.raises(OfflineError, match="the server answers 404"):
        fetch(source(files, "missing.pt"), target, quietly)
    assert list(target.parent.iterdir()) == []


def test_a_disk_without_room(files: Files, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is seen before anything is fetched; where it fills meanwhile, what has come stays."""
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(FetchError, match="make room"):
            fetch(source(files), target, quietly)
    assert list(target.parent.iterdir()) == []

    def full(there: int, _total: int | None) -> None:
        if there > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetch(source(files), target, full)
    fetch(source(files), target, quietly)
    assert files.asked[-1].startswith("bytes=")
    assert target.read_bytes() == files.content


def test_the_command(files: Files, detector: Detector, tmp_path: Path) -> None:
    """An address needs its SHA-256; the file is put into ./models, or where --to says."""
    wanted = source(files)
    done = detector("fetch", wanted.url)
    assert (done.returncode, files.asked) == (2, [])
    assert "--sha256" in done.stderr
    done = detector("fetch", wanted.url, "--sha256", wanted.sha256.upper())
    assert json.loads(done.stdout) == {
        "path": "models/best.pt",
        "sha256": wanted.sha256,
        "fetched": True,
    }
    assert (tmp_path / "models" / "best.pt").read_bytes() == files.content
    again = detector("fetch", wanted.url, "--sha256", wanted.sha256)
    assert json.loads(again.stdout)["fetched"] is False
    wrong = detector("fetch", wanted.url, "--sha256", "0" * 64, "--to", "other")
    assert (wrong.returncode, wrong.stdout) == (7, "")
    assert "it was thrown away" in wrong.stderr
    files.breaks_after = 1000
    broken = detector("fetch", wanted.url, "--sha256", wanted.sha256, "--to", "third")
    assert broken.returncode == 3
    assert "goes on from there" in broken.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("yolo99",), "no model of this name is known; there are yolov8n"),
        (("ftp://example.com/a.pt", "--sha256", "0" * 64), "no address that begins with https://"),
        (("https://example.com/", "--sha256", "0" * 64), "ends with no file's name"),
        (("https://example.com/a.pt", "--sha256", "12"), "no SHA-256"),
        (("yolo12n", "--sha256", "0" * 64), "not that of yolo12n"),
    ],
)
def test_what_cannot_be_meant_is_2(
    detector: Detector, arguments: tuple[str, ...], words: str
) -> None:
    """Before anything is asked for."""
    done = detector("fetch", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
