"""Pictures to training samples: mosaics, copies of people and faces, flips and colours.

Pure: the same pictures and the same random numbers give the same sample. What is known of each class is
kept pixel by pixel beside the picture, so that pictures labelled for people and pictures labelled for
faces may lie in one mosaic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import CLASSES, Image, Picture

#: The grey around pictures, as in the model's use (detection/letterbox).
_PADDING: Final = 114
#: Of a box that is cut at an edge, or covered, so much of its area must be left; from Ultralytics 8.4
#: (``RandomPerspective.box_candidates`` has 0.1), raised since a foot is no person.
_LEAST_VISIBLE: Final = 0.3
#: Boxes with a side of fewer pixels are no use to a stride of 8.
_LEAST_SIDE: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much pictures are changed.

    Attributes:
        mosaic: the probability that four pictures make a sample.
        tile_scale: longest side of a mosaic's picture, in sides of the sample; from, to.
        single_scale: likewise of a picture alone; more than 1 enlarges, so that large people are seen.
        stretch: the largest change of a picture's width by its height: with 0.5 it is up to 1.5 times as wide, or as high.
        copies: how many boxes of other pictures are pasted at most.
        flip: the probability of a mirror image.
        hue: the largest change, relative.
        saturation: likewise.
        brightness: likewise.
        grey: the probability that colours are taken away.
        blur: the probability that a sample is blurred.
    """

    mosaic: float = 0.75
    tile_scale: tuple[float, float] = (0.35, 1.1)
    single_scale: tuple[float, float] = (0.6, 1.5)
    stretch: float = 0.0
    copies: int = 0
    flip: float = 0.5
    hue: float = 0.015
    saturation: float = 0.6
    brightness: float = 0.4
    grey: float = 0.05
    blur: float = 0.05


@dataclass(slots=True)
class Sample:
    """A square picture to learn from.

    Attributes:
        pixels: shape (side, side, 3), blue-green-red.
        known: shape (side, side, classes): 1 where it is known whether a class is there, else 0.
        boxes: shape (n, 5): class, x1, y1, x2, y2 in pixels.
    """

    pixels: Image
    known: NDArray[np.uint8]
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 5), np.float32))

    @classmethod
    def blank(cls, side: int) -> "Sample":
        """Return padding alone: it is known that nobody is there."""
        return cls(
            np.full((side, side, 3), _PADDING, np.uint8),
            np.ones((side, side, len(CLASSES)), np.uint8),
        )

    @property
    def side(self) -> int:
        """In pixels."""
        return len(self.pixels)


def compose(
    first: Picture,
    pictures: Sequence[Picture],
    side: int,
    how: Augmentation,
    random: np.random.Generator,
) -> Sample:
    """Make a sample.

    Args:
        first: the picture that is surely in it.
        pictures: where others come from.
        side: of the sample, in pixels.
        how: how much is changed.
        random: where chance comes from.
    """
    sample = Sample.blank(side)

    def another() -> Picture:
        return pictures[int(random.integers(len(pictures)))]

    def fitted(picture: Picture, scales: tuple[float, float]) -> Picture:
        longest = side * random.uniform(*scales)
        return resized(picture, longest, (1 + how.stretch) ** random.uniform(-1, 1))

    if random.random() < how.mosaic:
        x, y = (int(share * side) for share in random.uniform(0.3, 0.7, 2))
        tiles = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
        for tile, picture in zip(tiles, (first, another(), another(), another()), strict=True):
            _put(sample, fitted(picture, how.tile_scale), tile, random)
    else:
        whole = (0, 0, side, side)
        _put(sample, fitted(first, how.single_scale), whole, random)
    for _ in range(int(random.integers(how.copies + 1))):
        _copy(sample, another(), random)
    if random.random() < how.flip:
        _flip(sample)
    sample.pixels = _recoloured(sample.pixels, how, random)
    return sample


def place(
    sample: Sample, picture: Picture, tile: tuple[int, int, int, int], left: int, top: int
) -> None:
    """Lay a picture into a tile of a sample, and what is known of it with it.

    Boxes that it covers nearly whole are no more, and nothing is known of their class where they were.

    Args:
        sample: is changed.
        picture: already of the size that it is to have.
        tile: x1, y1, x2, y2 in pixels of the sample; what lies outside is cut off.
        left: where the picture's left edge comes to lie; may lie outside.
        top: likewise its upper edge.
    """
    width, height = picture.size
    x1, y1 = max(tile[0], left), max(tile[1], top)
    x2, y2 = min(tile[2], left + width), min(tile[3], top + height)
    if x1 >= x2 or y1 >= y2:
        return
    sample.pixels[y1:y2, x1:x2] = picture.pixels[y1 - top : y2 - top, x1 - left : x2 - left]
    region = np.array([x1, y1, x2, y2], np.float32)
    _uncover(sample, region)
    known = sample.known[y1:y2, x1:x2]
    for index in range(len(CLASSES)):
        known[..., index] = index in picture.labelled
    shift = np.array([0, left, top, left, top], np.float32)
    for row in picture.unsure + shift:
        _mark(sample, row, region, value=0)
    boxes = picture.boxes + shift
    cut = boxes.copy()
    cut[:, 1:3] = np.maximum(boxes[:, 1:3], region[:2])
    cut[:, 3:5] = np.minimum(boxes[:, 3:5], region[2:])
    visible = _areas(cut) >= _LEAST_VISIBLE * _areas(boxes)
    large = (cut[:, 3:5] - cut[:, 1:3]).min(axis=1, initial=np.inf) >= _LEAST_SIDE
    for row in cut[~(visible & large)]:  # a sliver of somebody is neither somebody nor nobody
        _mark(sample, row, region, value=0)
    for row in cut[visible & large]:
        _mark(sample, row, region, value=1)
    sample.boxes = np.concatenate([sample.boxes, cut[visible & large]])


def resized(picture: Picture, longest: float, aspect: float = 1.0) -> Picture:
    """Return a picture of another size.

    Args:
        picture: as it is.
        longest: its longest side is to have so many pixels.
        aspect: so many times as wide is it to be, by its height.
    """
    width, height = picture.size
    gain = longest / max(width * aspect, height)
    new_width, new_height = max(round(width * aspect * gain), 8), max(round(height * gain), 8)
    pixels = cv2.resize(
        picture.pixels,
        (new_width, new_height),
        interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR,
    )
    x, y = new_width / width, new_height / height
    scale = np.array([1, x, y, x, y], np.float32)
    return Picture(
        picture.name,
        np.asarray(pixels, np.uint8),
        picture.boxes * scale,
        picture.labelled,
        picture.unsure * scale,
    )


def _put(
    sample: Sample,
    picture: Picture,
    tile: tuple[int, int, int, int],
    random: np.random.Generator,
) -> None:
    """Place a picture in a tile: where it is larger a part of it, where it is smaller anywhere."""
    width, height = picture.size
    spare_x, spare_y = tile[2] - tile[0] - width, tile[3] - tile[1] - height
    left = tile[0] + int(random.integers(min(spare_x, 0), max(spare_x, 0) + 1))
    top = tile[1] + int(random.integers(min(spare_y, 0), max(spare_y, 0) + 1))
    place(sample, picture, tile, left, top)


def _copy(sample: Sample, donor: Picture, random: np.random.Generator) -> None:
    """Paste one of another picture's boxes, with what is around it cut away."""
    if not len(donor.boxes):
        return
    box = donor.boxes[int(random.integers(len(donor.boxes)))]
    x1, y1 = (int(value) for value in np.floor(box[1:3]))
    x2, y2 = (int(value) for value in np.ceil(box[3:5]))
    shift = np.array([0, x1, y1, x1, y1], np.float32)
    cut_out = Picture(
        donor.name,
        donor.pixels[y1:y2, x1:x2],
        (box - shift)[None],
        # Of others that reach into the cut-out there may be parts; of the box's own class only it is sure.
        frozenset({int(box[0])}),
        donor.boxes[(donor.boxes != box).any(axis=1)] - shift,
    )
    fitted = resized(cut_out, random.uniform(0.1, 0.6) * sample.side)
    width, height = fitted.size
    left = int(random.integers(max(sample.side - width, 0) + 1))
    top = int(random.integers(max(sample.side - height, 0) + 1))
    place(sample, fitted, (0, 0, sample.side, sample.side), left, top)


def _uncover(sample: Sample, region: NDArray[np.float32]) -> None:
    """Take out boxes that a region covers nearly whole; of what is left of them nothing is known."""
    boxes = sample.boxes
    if not len(boxes):
        return
    shared = boxes.copy()
    shared[:, 1:3] = np.maximum(boxes[:, 1:3], region[:2])
    shared[:, 3:5] = np.minimum(boxes[:, 3:5], region[2:])
    covered = _areas(shared) > (1 - _LEAST_VISIBLE) * _areas(boxes)
    everywhere = np.array([0, 0, sample.side, sample.side], np.float32)
    for row in boxes[covered]:
        _mark(sample, row, everywhere, value=0)
    sample.boxes = boxes[~covered]


def _mark(
    sample: Sample, row: NDArray[np.float32], region: NDArray[np.float32], *, value: int
) -> None:
    """Say of a box's class whether it is known there, within a region."""
    x1, y1 = (int(edge) for edge in np.maximum(row[1:3], region[:2]).round())
    x2, y2 = (int(edge) for edge in np.minimum(row[3:5], region[2:]).round())
    if x1 < x2 and y1 < y2:
        sample.known[y1:y2, x1:x2, int(row[0])] = value


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 3:5] - boxes[:, 1:3]).clip(0).prod(axis=1), np.float32)


def _flip(sample: Sample) -> None:
    sample.pixels = np.asarray(cv2.flip(sample.pixels, 1), np.uint8)
    sample.known = np.ascontiguousarray(sample.known[:, ::-1])
    sample.boxes[:, [1, 3]] = sample.side - sample.boxes[:, [3, 1]]


def _recoloured(pixels: Image, how: Augmentation, random: np.random.Generator) -> Image:
    """Change hue, saturation and brightness by tables, as Ultralytics' ``RandomHSV`` does."""
    gains = 1 + random.uniform(-1, 1, 3) * (how.hue, how.saturation, how.brightness)
    values = np.arange(256)
    tables = (
        (values * gains[0] % 180).astype(np.uint8),
        (values * gains[1]).clip(0, 255).astype(np.uint8),
        (values * gains[2]).clip(0, 255).astype(np.uint8),
    )
    planes = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV))
    changed = [cv2.LUT(plane, table) for plane, table in zip(planes, tables, strict=True)]
    result = cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2BGR)
    if random.random() < how.grey:
        result = cv2.cvtColor(cv2.cvtColor(result, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if random.random() < how.blur:
        result = cv2.GaussianBlur(result, (5, 5), 0)
    return np.asarray(result, np.uint8)
