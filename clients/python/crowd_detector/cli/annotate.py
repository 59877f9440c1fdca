"""Draws what was found into a picture; sizes follow the picture's, so that it can be read at any size."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from crowd_detector.results import Box, Crowd, CrowdLevel, Result

_Colour: TypeAlias = tuple[int, int, int]
_Rectangle: TypeAlias = tuple[float, float, float, float]
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FACE: Final[_Colour] = (255, 200, 60)
_BODY: Final[_Colour] = (80, 220, 130)
_INK: Final[_Colour] = (16, 18, 22)
_PAPER: Final[_Colour] = (240, 242, 245)
_LEVELS: Final[dict[CrowdLevel, _Colour]] = {
    CrowdLevel.EMPTY: (150, 155, 165),
    CrowdLevel.LOW: (80, 220, 130),
    CrowdLevel.MEDIUM: (255, 210, 70),
    CrowdLevel.HIGH: (255, 150, 60),
    CrowdLevel.VERY_HIGH: (245, 80, 80),
    CrowdLevel.UNKNOWN: (150, 155, 165),
}
_SMALLEST_FONT: Final = 9
_FONT_SHARE: Final = 30  # of the picture's shorter side
_LINE_SHARE: Final = 240
_LABEL_SHARE: Final = 8  # of the picture's height, that a label takes at most


def annotated(picture: Image.Image, result: Result, caption: str = "") -> Image.Image:
    """Return the picture with boxes, their labels, and a banner with counts and level.

    Args:
        picture: upright, of the size that the result speaks of.
        result: what was found in it.
        caption: what else the banner shall say: the frame's number, its time.
    """
    if picture.mode.startswith("I"):  # 16 bits; Pillow would make white of all but the darkest
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    drawn = picture.convert("RGB")
    side = min(drawn.size)
    font = _font(max(_SMALLEST_FONT, side // _FONT_SHARE))
    width = max(1, round(side / _LINE_SHARE))
    draw = ImageDraw.Draw(drawn)
    faces = [_corners(each.box, drawn.size) for each in result.faces]
    bodies = [_corners(each.box, drawn.size) for each in result.bodies]
    for corners in bodies:
        draw.rectangle(corners, outline=_BODY, width=width)
    for corners in faces:
        draw.rectangle(corners, outline=_FACE, width=width)
    banner = _banner(draw, drawn.size, font, result.crowd, caption)
    found = [
        *zip(repeat("face"), result.faces, faces, repeat(_FACE)),
        *zip(repeat("person"), result.bodies, bodies, repeat(_BODY)),
    ]
    taken = [banner, *faces]  # no label hides a face
    for (
        name,
        detection,
        corners,
        colour,
    ) in found:  # after all boxes, so that no line crosses a label
        text = f"{name} {detection.confidence:.2f}"
        place = label_place(corners, _padded(draw, text, font), drawn.size, taken)
        if place is not None:
            taken.append(place)
            draw.rectangle(place, fill=colour)
            _write(draw, place, text, font, _INK)
    return drawn


def counted(crowd: Crowd) -> tuple[str, ...]:
    """Return what a crowd's figures say, from the fullest wording to the shortest."""
    level = crowd.level.value.replace("_", " ")
    people = "1 person" if crowd.total_people == 1 else f"{crowd.total_people} people"
    faces = "1 face" if crowd.face_count == 1 else f"{crowd.face_count} faces"
    return (
        f"{people}  {faces}  {level}  density {crowd.density_score:.2f}",
        f"{people}  {faces}  {level}",
        f"{people}  {level}",
        people,
        str(crowd.total_people),
    )


def label_place(
    box: _Rectangle,
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: Sequence[_Rectangle],
) -> _Rectangle | None:
    """Return where a box's label goes: above it, else inside, else below it; None if nowhere.

    A label that would cover much of a small picture is left out, and so is one that finds every place
    taken.
    """
    (x1, y1, x2, y2), (width, height) = box, size
    if width > picture[0] or height * _LABEL_SHARE > picture[1]:
        return None
    left = min(x1, picture[0] - width)
    has_room = y2 - y1 > 2 * height and x2 - x1 > width
    inside = [y1, y2 - height] if has_room else []
    for top in [y1 - height, *inside, y2]:
        place = (left, top, left + width, top + height)
        if top >= 0 and place[3] <= picture[1] and not any(_overlap(place, each) for each in taken):
            return place
    return None


def _banner(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    font: _Font,
    crowd: Crowd,
    caption: str,
) -> _Rectangle:
    wordings = counted(crowd)
    texts = [f"{wordings[0]}  {caption}", f"{wordings[1]}  {caption}"] if caption else []
    texts += wordings
    margin = _padded(draw, "", font)[0] * 2  # for the mark of the level
    fitting = (text for text in texts if _padded(draw, text, font)[0] + margin <= size[0])
    text = next(fitting, wordings[-1])
    width, height = _padded(draw, text, font)
    draw.rectangle((0, 0, width + margin, height), fill=_INK)
    draw.rectangle((0, 0, margin / 2, height), fill=_LEVELS[crowd.level])
    _write(draw, (margin, 0, width + margin, height), text, font, _PAPER)
    return (0, 0, width + margin, height)


def _write(
    draw: ImageDraw.ImageDraw, place: _Rectangle, text: str, font: _Font, colour: _Colour
) -> None:
    middle = (place[1] + place[3]) / 2
    draw.text((place[0] + _padding(font), middle), text, fill=colour, font=font, anchor="lm")


def _padded(draw: ImageDraw.ImageDraw, text: str, font: _Font) -> tuple[float, float]:
    return draw.textlength(text, font=font) + 2 * _padding(font), round(_size(font) * 1.5)


def _padding(font: _Font) -> int:
    return max(2, round(_size(font) / 4))


def _size(font: _Font) -> float:
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else _SMALLEST_FONT


@lru_cache(maxsize=8)
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _corners(box: Box, size: tuple[int, int]) -> _Rectangle:
    right, bottom = size[0] - 1, size[1] - 1
    return (min(box.x1, right), min(box.y1, bottom), min(box.x2, right), min(box.y2, bottom))


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
