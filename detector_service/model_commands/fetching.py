"""A file by HTTP: in pieces if need be, whole and with the right SHA-256 or not at all.

What has come so far lies beside the target in a hidden file that is named by the SHA-256; the next attempt
goes on from there.
"""

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from detector_service.errors import DetectorError
from detector_service.model_commands.catalogue import Source

_CHUNK: Final = 1 << 18  # bytes
_PATIENCE: Final = 30.0  # seconds without a byte
_PARTIAL, _TOO_FAR = 206, 416


class FetchError(DetectorError):
    """What was fetched is not what it should be, or may not be put where it should go."""


class OfflineError(FetchError):
    """The server cannot be reached, refuses, or went away; another attempt goes on where this one ended."""


def fetch(source: Source, target: Path, progress: Callable[[int, int | None], None]) -> bool:
    """Put a file where it should be; return whether it had to be fetched.

    Args:
        source: where it lies, and its SHA-256.
        target: where it should be.
        progress: told of the bytes that are there, and of how many there will be, where that is known.

    Raises:
        OfflineError: it did not come, or not to its end.
        FetchError: it holds something else, or something else lies at the target.
        OSError: it cannot be written, as where the disk is full.
    """
    if target.exists():
        if _sha256(target) == source.sha256:
            return False
        raise FetchError(
            f"{target}: another file lies there (its SHA-256 is not {source.sha256[:16]}...); move it away, or "
            "fetch into another folder with --to"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{source.sha256[:16]}.part")
    with _held(part) as file:
        _download(source.url, file, progress)
        file.flush()
        os.fsync(file.fileno())
        found = _sha256(part)
        if found != source.sha256:
            part.unlink()
            raise FetchError(
                f"{source.url}: what came has the SHA-256 {found}, not {source.sha256}; it was thrown away. Either "
                "the file was changed where it lies, or something on the way changed it"
            )
        part.replace(target)
    return True


@contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """Open what has come so far, for this process alone."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(
                f"{part.parent}: another process is fetching this file; wait for it"
            ) from error
        try:
            yield file
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()


def _download(url: str, file: BinaryIO, progress: Callable[[int, int | None], None]) -> None:
    """Append what is missing of a file."""
    there = file.tell()
    # What is fetched is compared with its SHA-256; nothing but these two schemes gets here.
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - see above
            if answer.status != _PARTIAL or not _goes_on(answer, there):
                there = 0
                file.truncate(0)
            left = (
                int(answer.headers["Content-Length"]) if answer.headers["Content-Length"] else None
            )
            total = None if left is None else there + left
            _leave_room(file, left or 0)
            progress(there, total)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                there += len(chunk)
                progress(there, total)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _TOO_FAR:  # all of it had come before, or more than there is
            return
        raise OfflineError(f"{url}: the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise OfflineError(
            f"{url}: cannot be reached ({error.reason}); is this machine offline? What has come is kept"
        ) from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _broken(url, there) from error
    if total is not None and there < total:
        raise _broken(url, there)


def _goes_on(answer: Any, there: int) -> bool:
    """Return whether an answer begins where what is there ends."""
    span = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return span is not None and int(span[1]) == there


def _broken(url: str, there: int) -> OfflineError:
    return OfflineError(
        f"{url}: the connection broke after {there:,} bytes; the same command goes on from there"
    )


def _leave_room(file: BinaryIO, needed: int) -> None:
    free = shutil.disk_usage(Path(file.name).parent).free
    if needed > free:
        raise FetchError(
            f"{Path(file.name).parent}: {needed >> 20} MiB are needed, {free >> 20} MiB are free; make room, or "
            "fetch into another folder with --to"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
