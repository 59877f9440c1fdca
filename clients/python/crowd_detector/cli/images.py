"""Which images are meant: files, folders, patterns that the shell did not expand, standard input."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure

#: What is looked for in folders; a file that is named is sent whatever its name.
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
STANDARD_INPUT: Final = "-"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image to look at."""

    path: str  # as it was given, or found
    relative: PurePath  # below the folder that was given: where it is saved, below another


def find(paths: Sequence[str], without: Path | None = None) -> list[ImageFile]:
    """Return the images meant, folders and patterns in the order of their names.

    Args:
        paths: files, folders, patterns, or - for standard input.
        without: a folder that is left out where others are searched.

    Raises:
        Failure: a path is not there, a folder holds no image, a pattern fits no file.
    """
    return [image for path in paths for image in _find(path, without)]


def _find(path: str, without: Path | None) -> list[ImageFile]:
    if not path:
        raise Failure("an empty name is no image; . is the current folder", ExitCode.USAGE)
    if path == STANDARD_INPUT:
        return [ImageFile(path, PurePath("standard-input"))]
    if Path(path).is_dir():
        return _in_folder(path, without)
    if Path(path).exists():
        return [ImageFile(path, PurePath(Path(path).name))]
    if glob.has_magic(path):
        return _fitting(path)
    raise Failure(f"{path}: there is no such file or folder", ExitCode.USAGE)


def _in_folder(folder: str, without: Path | None) -> list[ImageFile]:
    images = [
        ImageFile(str(path), path.relative_to(folder))
        for path in _walk(Path(folder), without)
        if path.suffix.lower() in SUFFIXES
    ]
    if not images:
        raise Failure(f"{folder}: no image there ({', '.join(sorted(SUFFIXES))})", ExitCode.USAGE)
    return images


def _walk(folder: Path, without: Path | None) -> Iterator[Path]:
    left_out = None if without is None else without.resolve()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (Path(place) / name).resolve() != left_out
        )
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def _fitting(pattern: str) -> list[ImageFile]:
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - as the shell understands it
    files = [path for path in paths if Path(path).is_file()]
    if not files:
        raise Failure(f"{pattern}: no file fits this pattern", ExitCode.USAGE)
    return [ImageFile(path, PurePath(Path(path).name)) for path in files]
