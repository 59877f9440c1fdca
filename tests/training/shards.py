"""Small shards of made-up pictures, as the training data are packed."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from training.data import Image, Picture

#: A box a line: class, centre x, centre y, width, height.
PERSON = "0 0.5 0.5 0.4 0.8\n"
FACE = "1 0.5 0.3 0.25 0.25\n"


def image(width: int, height: int, seed: int = 0) -> Image:
    """Return coarse noise, shape (height, width, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def encoded(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """Return such a picture as a file."""
    return bytes(cv2.imencode(".png", image(width, height, seed))[1])


def pack(shard: Path, members: Mapping[str, bytes | str]) -> Path:
    """Write a shard, and return its folder."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return shard.parent


def small_set(folder: Path, pictures: int = 2) -> Path:
    """Write a shard with so many pictures of each group in each split; return its folder."""
    labels = {"person": PERSON, "face": FACE, "both": ""}
    members: dict[str, bytes | str] = {}
    for split in ("train", "val"):
        for group, label in labels.items():
            for number in range(pictures):
                members[f"{group}/{split}/images/{number}.png"] = encoded(seed=number)
                members[f"{group}/{split}/labels/{number}.txt"] = label
    return pack(folder / "small.tar", members)


def picture(
    labelled: frozenset[int], *boxes: tuple[float, ...], width: int = 64, height: int = 48
) -> Picture:
    """Return a picture with these boxes: class, x1, y1, x2, y2."""
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Picture("made up", image(width, height), rows, labelled)
