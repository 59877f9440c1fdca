"""Which images are meant."""

from pathlib import Path, PurePath

import pytest
from crowd_detector.cli.detect import frame_id
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.images import ImageFile, find
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, and what is none."""
    for name in ("b.JPG", "a.png", "sub/c.webp", "sub/.hidden.jpg", ".git/d.jpg", "note.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_is_searched(folder: Path) -> None:
    """With those in it, in the order of names, and without what is hidden."""
    assert find([str(folder)]) == [
        ImageFile(str(folder / name), PurePath(name)) for name in ("a.png", "b.JPG", "sub/c.webp")
    ]


def test_a_folder_that_is_left_out(folder: Path) -> None:
    """What was annotated the last time is not annotated once more."""
    names = [image.relative.name for image in find([str(folder)], without=folder / "sub")]
    assert names == ["a.png", "b.JPG"]


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    """Whoever names it means it."""
    assert find([str(folder / "note.txt")]) == [
        ImageFile(str(folder / "note.txt"), PurePath("note.txt"))
    ]


def test_a_pattern_is_expanded(folder: Path) -> None:
    """Where the shell did not."""
    found = find([f"{folder}/**/*.webp", f"{folder}/[ab].*"])
    assert [image.relative.name for image in found] == ["c.webp", "a.png", "b.JPG"]


def test_a_file_named_like_a_pattern_is_that_file(folder: Path) -> None:
    """As shells do."""
    (folder / "x[1].jpg").touch()
    assert len(find([str(folder / "x[1].jpg")])) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere.jpg", "no such file"), ("*.tiff", "no file fits"), ("empty", "no image there")],
)
def test_what_is_not_there_is_said(folder: Path, path: str, words: str) -> None:
    """By its name."""
    (folder / "empty").mkdir()
    with pytest.raises(Failure, match=words) as failure:
        find([str(folder / path)])
    assert failure.value.code is ExitCode.USAGE
    assert path in str(failure.value)


@given(st.binary(max_size=600))
def test_a_frame_id_is_text_that_fits(path: bytes) -> None:
    """Even of a name that is no text."""
    assert len(frame_id(path.decode("utf-8", "surrogateescape")).encode()) <= 256
