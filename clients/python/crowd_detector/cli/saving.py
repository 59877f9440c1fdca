"""Writes annotated images, each whole or not at all."""

import io
import os
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path, PurePath
from typing import Final, TypeAlias

from PIL import Image, ImageOps

from crowd_detector.cli.annotate import annotated
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.images import ImageFile
from crowd_detector.results import Result

_Identity: TypeAlias = tuple[int, int]

_SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_HOW: Final[dict[str, dict[str, object]]] = {
    "JPEG": {"quality": 92},
    "PNG": {},
    "WEBP": {"quality": 90},
}


class NotDrawnError(Exception):
    """A picture that the service could read and Pillow cannot."""


class ImageSaver:
    """Writes below one folder; what is looked at, and what was written in this run, is not replaced."""

    def __init__(self, folder: Path, files: Iterable[ImageFile]) -> None:
        """Prepare it.

        Args:
            folder: which need not be there yet.
            files: all that is looked at, in this run.

        Raises:
            Failure: an image would be replaced by an annotated one, of itself or of another.
        """
        self._folder: Final = folder
        self._written: Final[set[Path]] = set()
        files = list(files)
        self._looked_at: Final = {_identity(Path(file.path)) for file in files} - {None}
        for file in files:
            if _identity(folder / file.relative) in self._looked_at:
                raise Failure(
                    f"{folder / file.relative} would be replaced by an annotated picture; "
                    "save to another folder",
                    ExitCode.USAGE,
                )

    @property
    def written(self) -> int:
        """How many images were written."""
        return len(self._written)

    def save(self, content: bytes, result: Result, relative: PurePath) -> None:
        """Draw a result into its image and write that, in the format that the image has.

        Raises:
            NotDrawnError: Pillow cannot read the image, or not draw into it.
            Failure: it cannot be written.
        """
        try:
            drawn, kind = _drawn(content, result)
        except Exception as error:
            raise NotDrawnError(str(error)) from error
        path = self._free((self._folder / relative).with_suffix(relative.suffix or _SUFFIXES[kind]))
        try:
            _replace(path, drawn)
        except OSError as error:
            raise Failure(of_file(error, path), ExitCode.OUTPUT) from error
        self._written.add(path)

    def _free(self, path: Path) -> Path:
        numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
        return next(each for each in chain([path], numbered) if self._is_free(each))

    def _is_free(self, path: Path) -> bool:
        return path not in self._written and _identity(path) not in self._looked_at


def _drawn(content: bytes, result: Result) -> tuple[bytes, str]:
    """Return an image with its result drawn into it, and its format."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        kind = image.format if image.format in _HOW else "JPEG"  # a phone's MPO begins with one
        annotated(ImageOps.exif_transpose(image), result).save(buffer, kind, **_HOW[kind])
    return buffer.getvalue(), kind


def _identity(path: Path) -> _Identity | None:
    """Return what a file is known by whatever its names; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".detector-{os.getpid()}.part")  # short: a name may be at its limit
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - it says what it does
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
