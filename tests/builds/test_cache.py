"""Where builds are kept: whole or not at all, made once, found again only intact, and not for ever."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector_service.builds import cache
from detector_service.builds.cache import BuildCache, BuildName, BuildStopped
from detector_service.errors import ModelError

CONTENT = "0123456789abcdef99"
NAME = BuildName("openvino", "any", "maker-1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, in the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "crowd-detector"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a model lies."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "m.pt"


def two_files(folder: Path) -> None:
    """Make a build of two files."""
    (folder / "graph").write_bytes(b"graph")
    (folder / "sub").mkdir()
    (folder / "sub" / "weights").write_bytes(b"weights")


def build(model: Path, make: Callable[[Path], None] = two_files, *, content: str = CONTENT) -> Path:
    """Build a few bytes."""
    stop = threading.Event()
    return BuildCache(model, content).build(NAME, make, needed_bytes=1, stop=stop)


def never(folder: Path) -> None:
    """Fail, because nothing is to be made."""
    raise AssertionError(folder)


def cannot_be_written(model: Path) -> None:
    """Put a file in the way, which stands for a read-only folder that root could write."""
    (model.parent / ".cache").touch()


def test_a_build_lies_beside_the_model_and_is_found_again(model: Path) -> None:
    """In a folder that is named by the weights, so that other weights never find it."""
    folder = build(model)
    assert folder == model.parent / ".cache" / "0123456789abcdef" / str(NAME)
    assert (folder / "sub" / "weights").read_bytes() == b"weights"
    assert BuildCache(model, CONTENT).find(NAME) == folder
    assert build(model, never) == folder
    assert BuildCache(model, "f" * 64).find(NAME) is None


def test_a_build_lies_with_the_user_where_the_model_s_folder_cannot_be_written(
    model: Path, home: Path
) -> None:
    """So does what OpenVINO compiles."""
    cannot_be_written(model)
    assert build(model) == home / "0123456789abcdef" / str(NAME)
    assert BuildCache(model, CONTENT).writable() == home / "0123456789abcdef"
    assert BuildCache(model, CONTENT).find(NAME) is not None


def test_nowhere_to_write_is_an_error_of_a_build_alone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container of a user without a home, on a read-only disk: the cure is named."""
    cannot_be_written(model)
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert BuildCache(model, CONTENT).writable() is None
    with pytest.raises(ModelError, match=r"m\.pt: .*kept nowhere .*set XDG_CACHE_HOME"):
        build(model)


def test_a_full_disk_is_seen_before_it_is_full(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another disk is tried; where there is none, the error says how much room is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(ModelError, match=r"no room: 0 MiB are needed, 0 MiB are free.*make room"):
        build(model, never)


def test_a_disk_that_fills_up_meanwhile_is_left_for_another(model: Path, home: Path) -> None:
    """What was half made is gone."""

    def fills_up(folder: Path) -> None:
        two_files(folder)
        if model.parent in folder.parents:
            raise OSError(errno.ENOSPC, "No space left on device")

    assert build(model, fills_up).is_relative_to(home)
    assert _names(model.parent / ".cache" / "0123456789abcdef") == {"lock"}


def test_what_fails_leaves_nothing_behind(model: Path) -> None:
    """Neither a build nor half of one."""

    def fails(folder: Path) -> None:
        two_files(folder)
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        build(model, fails)
    assert _names(model.parent / ".cache" / "0123456789abcdef") == {"lock"}


def test_what_a_killed_process_left_goes_with_the_next_build(model: Path) -> None:
    """It is taken for no build, and does not pile up."""
    left = model.parent / ".cache" / "0123456789abcdef" / "making-x"
    left.mkdir(parents=True)
    two_files(left)
    assert BuildCache(model, CONTENT).find(NAME) is None
    build(model)
    assert not left.exists()


@settings(max_examples=50, deadline=None)  # files are written
@given(st.data())
def test_a_damaged_build_is_made_anew(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any byte that changed, any file that is missing, cut short or too many."""
    folder = build(tmp_path_factory.mktemp("models") / "m.pt")
    files = [file for file in folder.rglob("*") if file.is_file()]
    file = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(file.read_bytes())
    match data.draw(st.sampled_from(["flip", "cut", "remove", "add"])):
        case "flip":
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] ^= data.draw(st.sampled_from([1, 2, 16, 128]))
            file.write_bytes(content)
        case "cut":
            file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        case "remove":
            file.unlink()
        case "add":
            (folder / "more").touch()
    model = folder.parents[2] / "m.pt"
    assert BuildCache(model, CONTENT).find(NAME) is None
    assert build(model) == folder
    assert BuildCache(model, CONTENT).find(NAME) == folder


@pytest.mark.parametrize("nonsense", ["null", "[]", '{"graph": 1}', "[" * 9999])
def test_a_list_that_is_none_is_a_damaged_build(model: Path, nonsense: str) -> None:
    """Valid JSON or not."""
    folder = build(model)
    (folder / "build.json").write_text(nonsense)
    assert BuildCache(model, CONTENT).find(NAME) is None


def test_builds_of_another_maker_are_found_when_asked_for(model: Path) -> None:
    """Where the maker itself is not installed, any intact build serves; those of another kind do not."""
    kept = BuildCache(model, CONTENT)
    older, newer, onnx = (
        BuildName(kind, "any", maker)
        for kind, maker in (("openvino", "a-1"), ("openvino", "a-2"), ("onnx", "a-3"))
    )
    for name in (older, newer, onnx):
        kept.build(name, two_files, needed_bytes=1, stop=threading.Event())
    wanted = BuildName("openvino", "any", "")
    assert kept.find(wanted) is None
    newest = kept.find_of_any_maker(wanted)
    assert newest is not None
    assert newest.name == str(newer)
    (newest / "graph").unlink()
    oldest = kept.find_of_any_maker(wanted)
    assert oldest is not None
    assert oldest.name == str(older)


def test_who_comes_second_waits_and_makes_nothing(model: Path) -> None:
    """Two that start at once build once."""
    begun, go_on, found = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        begun.set()
        assert go_on.wait(60)
        two_files(folder)

    first = threading.Thread(target=lambda: found.append(build(model, slow)))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(target=lambda: found.append(build(model, never)))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert len(found) == 2
    assert found[0] == found[1]


def test_who_waits_can_be_told_to_stop(model: Path) -> None:
    """A service that goes down waits for nobody's build."""
    stop = threading.Event()

    def another_comes_and_is_stopped(folder: Path) -> None:
        stop.set()
        with pytest.raises(BuildStopped):
            BuildCache(model, CONTENT).build(NAME, never, needed_bytes=1, stop=stop)
        two_files(folder)

    build(model, another_comes_and_is_stopped)


def test_builds_of_few_models_are_kept(model: Path) -> None:
    """Those that were used last; what others put into the folder is not touched."""
    root = model.parent / ".cache"
    (root / "notes").mkdir(parents=True)
    contents = [f"{number:016x}" for number in range(10)]
    for age, content in enumerate(contents):
        build(model, content=content)
        os.utime(root / content, (age, age))
    assert BuildCache(model, contents[2]).find(NAME) is not None  # and so used just now
    build(model, content="f" * 16)
    assert _names(root) == {"notes", "f" * 16, *contents[4:], contents[2]}


def test_builds_of_few_makers_are_kept(model: Path) -> None:
    """Those that were made last; builds of another kind are not touched."""
    kept = BuildCache(model, CONTENT)
    names = [BuildName("openvino", "any", f"maker-{age}") for age in range(6)]
    other = BuildName("onnx", "any", "maker-0")
    for age, name in enumerate([other, *names]):
        os.utime(kept.build(name, two_files, needed_bytes=1, stop=threading.Event()), (age, age))
    folder = model.parent / ".cache" / "0123456789abcdef"
    assert _names(folder) == {"lock", str(other), *map(str, names[2:])}


def test_what_openvino_has_compiled_is_bounded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its versions and settings come and go, and what they compiled goes with them."""
    monkeypatch.setattr(cache, "_KEPT_BLOBS", 2)
    folder = BuildCache(model, CONTENT).writable()
    assert folder is not None
    for age in range(4):
        (folder / f"{age}.blob").touch()
        os.utime(folder / f"{age}.blob", (age, age))
    cache.note_compiled(folder)
    assert BuildCache(model, CONTENT).writable() == folder
    assert {name for name in _names(folder) if name.endswith(".blob")} == {"2.blob", "3.blob"}


@pytest.mark.parametrize("note", [None, "", "[]", "null", '{"good.blob": 1}'])
def test_what_openvino_has_compiled_is_used_as_it_was_noted(model: Path, note: str | None) -> None:
    """What was damaged since, or not noted before its maker was killed, or not legibly, goes."""
    folder = BuildCache(model, CONTENT).writable()
    assert folder is not None
    for name in ("good", "bad"):
        (folder / f"{name}.blob").write_text(name)
    cache.note_compiled(folder)
    (folder / "bad.blob").write_text("worse")
    (folder / "unknown.blob").write_text("unknown")
    if note is not None:
        (folder / "compiled.json").write_text(note)
    assert BuildCache(model, CONTENT).writable() == folder
    left = {name for name in _names(folder) if name.endswith(".blob")}
    assert left == ({"good.blob"} if note is None else set())


def test_the_list_names_every_file(model: Path) -> None:
    """With its SHA-256."""
    listed = json.loads((build(model) / "build.json").read_text())
    assert set(listed) == {"graph", "sub/weights"}
    assert all(len(digest) == 64 for digest in listed.values())


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}
