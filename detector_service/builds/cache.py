"""Where what is made of a model's weights is kept: beside them, or in the user's cache folder.

::

    .cache/                     beside the model's file, or ~/.cache/crowd-detector/
      0123456789abcdef/         of one model: the first digits of its weights' SHA-256
        lock                    held by the process that builds
        openvino-any-.../       one build: its files, and build.json, which lists them
        making-.../             a build under way; what a killed process left goes with the next
        *.blob                  what OpenVINO has compiled; compiled.json lists them

A build appears by being renamed, so that there is a whole one or none. What is found is compared with
its list of SHA-256s; what does not agree is built anew.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import structlog

from detector_service.errors import ModelError

_log = structlog.get_logger()

#: Models whose builds are kept in one place; builds of one kind, by this maker and others, and files that
#: OpenVINO has compiled, of one model. The oldest go first, of models those longest unused.
_KEPT_MODELS: Final = 8
_KEPT_BUILDS: Final = 4
_KEPT_BLOBS: Final = 16
#: How often whoever waits for another process's build looks again, in seconds.
_LOOK_AGAIN: Final = 0.1
_LIST: Final = "build.json"
_COMPILED: Final = "compiled.json"
_DIGITS: Final = 16


class BuildStopped(Exception):  # noqa: N818 - it is no error
    """The service goes down, and what was to be built is not needed any more."""


@dataclass(frozen=True, slots=True)
class BuildName:
    """What tells one build of a model from another.

    Attributes:
        kind: of files: "openvino", "onnx", "tensorrt".
        input_size: what it was made for; "any" where it takes every size.
        maker: the names and versions of the programs that make it.
    """

    kind: str
    input_size: str
    maker: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.input_size}-{self.maker}"


class BuildCache:
    """The builds of one model."""

    def __init__(self, path: Path, content: str) -> None:
        """Look nowhere yet.

        Args:
            path: the model's file or folder.
            content: its content hash, which names the folder, so that other weights never find it.
        """
        self._path: Final = path
        self._folders: Final = [root / content[:_DIGITS] for root in roots(path)]

    def writable(self) -> Path | None:
        """Return a folder to keep things in; None where nothing can be written anywhere."""
        for folder in self._folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    _drop_damaged(folder)
                    _drop_oldest(folder.glob("*.blob"), _KEPT_BLOBS)
                    return folder
            except OSError:
                continue
        return None

    def find(self, name: BuildName) -> Path | None:
        """Return the folder of an intact build, or None."""
        return self._first([str(name)])

    def find_of_any_maker(self, name: BuildName) -> Path | None:
        """Return the folder of an intact build of this kind and input size, whoever made it."""
        pattern = str(BuildName(name.kind, name.input_size, "*"))
        found = {build.name for folder in self._folders for build in folder.glob(pattern)}
        return self._first(sorted(found, reverse=True))

    def build(
        self,
        name: BuildName,
        make: Callable[[Path], None],
        *,
        needed_bytes: int,
        stop: threading.Event,
    ) -> Path:
        """Return the folder of a build; make it unless another process does so meanwhile.

        Args:
            name: the build's.
            make: fills an empty folder.
            needed_bytes: what it takes on the disk, about.
            stop: set when the build is not wanted any more.

        Raises:
            ModelError: it cannot be made, or kept anywhere.
            BuildStopped: `stop` was set.
        """
        complaints = []
        for folder in self._folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with _locked(folder / "lock", stop):
                    if _intact(folder / str(name)):
                        return folder / str(name)
                    _make(folder, name, make, needed_bytes)
                    _drop_oldest(folder.glob(f"{name.kind}-*"), _KEPT_BUILDS)
            except OSError as error:
                complaints.append(f"{folder}: {error.strerror or error}")
                continue
            _drop_oldest(_models(folder.parent), _KEPT_MODELS)
            return folder / str(name)
        raise ModelError(
            f"{self._path}: what is built of it can be kept nowhere ({'; '.join(complaints)}); make room, "
            "or let the service write to one of these folders, or set XDG_CACHE_HOME to one that it can write to"
        )

    def _first(self, names: list[str]) -> Path | None:
        for name in names:
            for folder in self._folders:
                if _intact(folder / name):
                    _touch(folder)
                    return folder / name
        return None


@dataclass(frozen=True, slots=True)
class Kept:
    """A build that lies in a cache.

    Attributes:
        path: its folder.
        size: of its files, in bytes.
        last_used: when its model was, in seconds since the epoch.
    """

    path: Path
    size: int
    last_used: float


def kept(root: Path) -> Iterator[Kept]:
    """Return what lies in a cache, whether it is intact or not."""
    try:
        models = sorted(_models(root))
    except OSError:
        return
    for model in models:
        for build in sorted(each.parent for each in model.glob(f"*/{_LIST}")):
            with suppress(OSError):  # it may be dropped meanwhile
                size = sum(file.stat().st_size for file in _files(build))
                yield Kept(build, size, model.stat().st_mtime)


def roots(path: Path) -> Iterator[Path]:
    """Return the caches where builds of a model may lie, the first choice first."""
    yield path.parent / ".cache"
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        yield (Path(base) if base else Path.home() / ".cache") / "crowd-detector"
    except RuntimeError:  # there is no home folder
        return


def note_compiled(folder: Path) -> None:
    """Write down what OpenVINO has compiled into a model's folder; what is not noted is compiled anew next time.

    OpenVINO itself takes a damaged file for a good one, and answers by it.
    """
    with suppress(OSError):  # without a note nothing is lost but the time to compile
        noted = {blob.name: _sha256(blob) for blob in folder.glob("*.blob")}
        note = folder / f"{_COMPILED}.{os.getpid()}"
        note.write_text(json.dumps(noted))
        note.rename(folder / _COMPILED)


def _drop_damaged(folder: Path) -> None:
    """Remove what was compiled and is not as it was noted, or was not."""
    try:
        noted = json.loads((folder / _COMPILED).read_text())
    except (OSError, ValueError, RecursionError):
        noted = None
    known = noted if isinstance(noted, dict) else {}
    for blob in folder.glob("*.blob"):
        with suppress(OSError):  # another process may be about the same
            if known.get(blob.name) != _sha256(blob):
                blob.unlink()


def _make(folder: Path, name: BuildName, make: Callable[[Path], None], needed_bytes: int) -> None:
    """Make a build under the lock, whole or not at all."""
    for left in folder.glob("making-*"):
        shutil.rmtree(left, ignore_errors=True)
    if (free := shutil.disk_usage(folder).free) < needed_bytes:
        raise OSError(
            errno.ENOSPC, f"no room: {needed_bytes >> 20} MiB are needed, {free >> 20} MiB are free"
        )
    making = Path(tempfile.mkdtemp(prefix="making-", dir=folder))
    try:
        make(making)
        files = {str(file.relative_to(making)): _sha256(file) for file in _files(making)}
        (making / _LIST).write_text(json.dumps(files))
        shutil.rmtree(folder / str(name), ignore_errors=True)  # one that was not intact
        making.chmod(0o755)  # mkdtemp's folders are for their maker alone
        making.rename(folder / str(name))
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _intact(build: Path) -> bool:
    """Return whether there is a build whose files are those that were written."""
    try:
        listed = json.loads((build / _LIST).read_text())
        there = {str(file.relative_to(build)): _sha256(file) for file in _files(build)}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        there, listed = {}, None
    if there == listed:
        return True
    _log.warning("model.build_damaged", path=str(build), message="it is made anew")
    return False


def _files(build: Path) -> list[Path]:
    return [file for file in build.rglob("*") if file.is_file() and file != build / _LIST]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(file: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of a folder; it is let go of with the process, however that ends."""
    with file.open("w") as lock:
        if not (taken := _taken(lock)):
            _log.info(
                "model.build_awaited", path=str(file.parent), message="another process builds"
            )
        while not (taken := taken or _taken(lock)):
            if stop.wait(_LOOK_AGAIN):
                raise BuildStopped
        yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _models(root: Path) -> Iterator[Path]:
    """Return the folders of models in a cache, and nothing that others may have put there."""
    for folder in root.iterdir():
        if len(folder.name) == _DIGITS and set(folder.name) <= set("0123456789abcdef"):
            yield folder


def _drop_oldest(entries: Iterator[Path], kept: int) -> None:
    """Remove what was not used for longest; a process that has it open goes on reading it."""
    with suppress(OSError):  # another process may be about the same
        by_age = sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in by_age[kept:]:
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _touch(folder: Path) -> None:
    """Note that a model's folder is in use; where it cannot be written, nothing is ever dropped either."""
    try:
        os.utime(folder)
    except OSError:
        return
