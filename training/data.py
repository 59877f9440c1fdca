"""Labelled pictures, read from tar shards into memory.

A shard holds ``GROUP/SPLIT/images/NAME.webp`` (or .jpg, .png) and ``GROUP/SPLIT/labels/NAME.txt`` with one
box a line as YOLO has them: class, centre x, centre y, width, height, in fractions of the picture. The group
says for which classes a picture is labelled; of the others nothing is known.
"""

import math
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

Image: TypeAlias = NDArray[np.uint8]
Split = Literal["train", "val"]

#: The classes' names, in the order of the model's outputs.
CLASSES: Final = ("person", "face")

#: For which classes the pictures of a group are labelled, exhaustively.
GROUPS: Final[Mapping[str, frozenset[int]]] = {
    "person": frozenset({0}),
    "face": frozenset({1}),
    "both": frozenset({0, 1}),
}

_IMAGES: Final = frozenset({".webp", ".jpg", ".jpeg", ".png"})
_FIGURES: Final = 5


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and what is known of it.

    Attributes:
        name: where it lies in its shard.
        pixels: shape (height, width, 3), blue-green-red.
        boxes: shape (n, 5): class, x1, y1, x2, y2 in pixels.
        labelled: the classes whose boxes are all there.
        unsure: shape (m, 5), like boxes: where nothing is known of a class that is labelled otherwise.
    """

    name: str
    pixels: Image
    boxes: NDArray[np.float32]
    labelled: frozenset[int]
    unsure: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 5), np.float32))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height


def load(folder: Path, split: Split, most: int | None = None) -> list[Picture]:
    """Read the pictures of a split, decoded, in the order of their names.

    Args:
        folder: where the shards (*.tar) lie.
        split: which of the two.
        most: of each group, so many pictures at most, spread over it.

    Raises:
        TrainingError: a shard or a picture in it is damaged, or there are no pictures.
    """
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        raise TrainingError(
            f"--data {folder}: there are no shards (*.tar) in it; name the folder that has them, see training/README.md"
        )
    images: dict[str, bytes] = {}
    labels: dict[str, bytes] = {}
    for shard in shards:
        for path, content in _members(shard, split):
            key = f"{path.parts[0]}/{path.stem}"
            (labels if path.suffix == ".txt" else images)[key] = content
    _check_pairs(folder, images, labels)
    names = _spread(sorted(images), most)
    if not names:
        raise TrainingError(f"--data {folder}: its shards hold no pictures of the split '{split}'")

    def read(name: str) -> Picture:
        return _picture(f"{folder}: {split} {name}", images[name], labels[name])

    with ThreadPoolExecutor() as threads:
        return list(threads.map(read, names))


def parse_labels(text: str, group: str, width: int, height: int) -> NDArray[np.float32]:
    """Return the boxes of a label file, shape (n, 5): class, x1, y1, x2, y2 in pixels.

    Args:
        text: one box a line.
        group: of the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Raises:
        ValueError: a line is none of a box, or of a class that the group is not labelled for.
    """
    rows = [
        _row(number, line, group)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    figures = np.array(rows, np.float64).reshape(-1, _FIGURES)
    centres, halves = figures[:, 1:3], figures[:, 3:5] / 2
    corners = np.column_stack([centres - halves, centres + halves]).clip(0, 1)
    return np.asarray(
        np.column_stack([figures[:, 0], corners * [width, height, width, height]]), np.float32
    )


def _row(number: int, line: str, group: str) -> list[float]:
    try:
        row = [float(part) for part in line.split()]
    except ValueError as error:
        raise ValueError(f"line {number} is not made of numbers: {line[:60]!r}") from error
    if len(row) != _FIGURES or not all(math.isfinite(figure) for figure in row):
        raise ValueError(
            f"line {number} is not 'class x y width height' in fractions of the picture: {line[:60]!r}"
        )
    if row[0] not in GROUPS[group]:
        raise ValueError(
            f"line {number} is of class {row[0]:g}, and '{group}' pictures are labelled for {sorted(GROUPS[group])}"
        )
    if not (all(0 <= figure <= 1 for figure in row[1:]) and row[3] > 0 and row[4] > 0):
        raise ValueError(f"line {number} is no box within the picture: {line[:60]!r}")
    return row


def _members(shard: Path, split: Split) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give the pictures and labels of a split."""
    try:
        with tarfile.open(shard) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not member.isfile() or path.suffix not in {*_IMAGES, ".txt"}:
                    continue
                if len(path.parts) != 4 or path.parts[0] not in GROUPS:  # noqa: PLR2004 - group, split, kind, name
                    raise TrainingError(
                        f"{shard}: {member.name} is not GROUP/SPLIT/images/NAME or GROUP/SPLIT/labels/NAME with a "
                        f"GROUP of {', '.join(GROUPS)}; pack the shard so"
                    )
                content = archive.extractfile(member)
                if path.parts[1] == split and content is not None:
                    yield path, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise TrainingError(
            f"{shard}: damaged or truncated ({error}); copy the shard again"
        ) from error


def _check_pairs(folder: Path, images: Mapping[str, bytes], labels: Mapping[str, bytes]) -> None:
    for name in sorted(images.keys() ^ labels.keys()):
        missing = "label file (an empty one says that nothing is there)"
        raise TrainingError(
            f"{folder}: {name} has no {missing if name in images else 'picture'}; add it to its shard, or take out both"
        )


def _spread(names: Sequence[str], most: int | None) -> list[str]:
    if most is None:
        return list(names)
    chosen: list[str] = []
    for group in GROUPS:
        members = [name for name in names if name.startswith(f"{group}/")]
        count = min(most, len(members))
        chosen += [members[place * len(members) // count] for place in range(count)]
    return sorted(chosen)


def _picture(name: str, image: bytes, label: bytes) -> Picture:
    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # of no bytes at all
        pixels = None
    if pixels is None:
        raise TrainingError(f"{name}: not an image, or truncated; put it into its shard again")
    group = name.rpartition("/")[0].rpartition(" ")[2]
    height, width = pixels.shape[:2]
    try:
        boxes = parse_labels(label.decode(), group, width, height)
    except ValueError as error:  # UnicodeDecodeError too
        raise TrainingError(f"{name}: its label file: {error}; correct it in its shard") from error
    return Picture(name, np.asarray(pixels, np.uint8), boxes, GROUPS[group])
