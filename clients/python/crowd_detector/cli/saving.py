"""Writes annotated images, each whole or not at all."""

import io
import os
from pathlib import Path, PurePath
from typing import Final

from PIL import Image, ImageOps

from crowd_detector.cli.annotate import annotated
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.results import Result

_SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_HOW: Final[dict[str, dict[str, object]]] = {
    "JPEG": {"quality": 92},
    "PNG": {},
    "WEBP": {"quality": 90},
}


class ImageSaver:
    """Writes below one folder; names that were written in this run are not written again."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._written: Final[set[Path]] = set()

    @property
    def written(self) -> int:
        """How many images were written."""
        return len(self._written)

    def save(self, content: bytes, result: Result, source: str, relative: PurePath) -> None:
        """Draw a result into its image and write that, in the format that the image has.

        Raises:
            Failure: it cannot be written, or would replace the image that was looked at.
        """
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or "JPEG"
            drawn = annotated(ImageOps.exif_transpose(image), result)
        suffix = relative.suffix or _SUFFIXES[kind]
        path = self._free((self._folder / relative).with_suffix(suffix))
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise Failure(
                f"{path} would be replaced by its annotated picture; save to another folder",
                ExitCode.USAGE,
            )
        buffer = io.BytesIO()
        drawn.save(buffer, kind, **_HOW[kind])
        try:
            _replace(path, buffer.getvalue())
        except OSError as error:
            raise Failure(of_file(error, path), ExitCode.OUTPUT) from error
        self._written.add(path)

    def _free(self, path: Path) -> Path:
        names = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 1_000_000))
        while path in self._written:
            path = next(names)
        return path


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - it says what it does
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
