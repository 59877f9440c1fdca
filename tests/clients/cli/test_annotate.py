"""Boxes, labels and a banner, at any size of picture."""

from datetime import UTC, datetime

import pytest
from crowd_detector import Box, Crowd, CrowdLevel, Detection, Result, StageTimes
from crowd_detector.cli.annotate import annotated, counted, label_place
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


def result(width: int, height: int, faces: list[Box], bodies: list[Box]) -> Result:
    """Make a result."""
    count = max(len(faces), len(bodies))
    return Result(
        frame_id="",
        camera="",
        sequence=1,
        width=width,
        height=height,
        faces=tuple(Detection(box, 0.9) for box in faces),
        bodies=tuple(Detection(box, 0.8) for box in bodies),
        crowd=Crowd(len(faces), len(bodies), count, CrowdLevel.MEDIUM, 0.25),
        alerts=(),
        stage_times=StageTimes(0, 0, 0, 0),
        processing_time=0,
        completed_time=datetime.now(UTC),
    )


@st.composite
def pictures(draw: st.DrawFn) -> tuple[tuple[int, int], list[Box], list[Box]]:
    """Draw a size, and boxes that the contract allows in it."""
    width, height = draw(SIZES)

    def box() -> Box:
        x1, x2 = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
        y1, y2 = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
        return Box(x1, y1, x2, y2)

    return (
        (width, height),
        [box() for _ in range(draw(st.integers(0, 3)))],
        [box() for _ in range(draw(st.integers(0, 3)))],
    )


def test_16_bits_keep_their_greys() -> None:
    """A picture half as bright as can be stays so."""
    picture = Image.new("I;16", (200, 200), 0x8000)
    assert annotated(picture, result(200, 200, [], [])).getpixel((199, 199)) == (128, 128, 128)


@given(pictures())
def test_any_result_can_be_drawn(case: tuple[tuple[int, int], list[Box], list[Box]]) -> None:
    """Into a picture of the same size; the one given stays as it was."""
    size, faces, bodies = case
    picture = Image.new("RGB", size, (90, 90, 90))
    drawn = annotated(picture, result(*size, faces, bodies), "frame 1  0:00")
    assert drawn.size == size
    assert picture.getextrema() == ((90, 90), (90, 90), (90, 90))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_any_kind_of_picture(mode: str) -> None:
    """What is drawn has colours."""
    assert annotated(Image.new(mode, (64, 64)), result(64, 64, [], [])).mode == "RGB"


@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (3840, 2160)])
def test_a_box_is_where_it_was_found(size: tuple[int, int]) -> None:
    """Its lines and its label change the picture; what is inside stays."""
    width, height = size
    box = Box(width * 0.4, height * 0.4, width * 0.8, height * 0.9)
    plain = Image.new("RGB", size, (90, 90, 90))
    drawn = annotated(plain, result(width, height, [], [box]))
    below_the_banner = (0, round(height * 0.2), width, height)
    changed = ImageChops.difference(plain, drawn).crop(below_the_banner).getbbox()
    assert changed is not None
    assert changed[0] == pytest.approx(box.x1, abs=1)
    assert changed[2] == pytest.approx(box.x2, abs=2)
    assert changed[1] + below_the_banner[1] < box.y1  # the label
    assert changed[3] + below_the_banner[1] == pytest.approx(box.y2, abs=2)
    inside = (round(width * 0.45), round(height * 0.5), round(width * 0.75), round(height * 0.85))
    assert drawn.crop(inside).getextrema() == ((90, 90), (90, 90), (90, 90))


@given(
    box=st.tuples(*[st.floats(0, 500)] * 4),
    size=st.tuples(st.floats(1, 200), st.floats(1, 40)),
    picture=SIZES,
    taken=st.lists(st.tuples(*[st.floats(0, 500)] * 4), max_size=5),
)
def test_a_label_is_in_the_picture_and_on_no_other(
    box: tuple[float, float, float, float],
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Or it is left out."""
    place = label_place(box, size, picture, taken)
    if place is not None:
        x1, y1, x2, y2 = place
        assert 0 <= x1 < x2 <= picture[0] + 1e-6
        assert 0 <= y1 < y2 <= picture[1] + 1e-6
        for other in taken:
            assert x1 >= other[2] or other[0] >= x2 or y1 >= other[3] or other[1] >= y2


def test_counts_in_words() -> None:
    """From the fullest wording to the shortest, for small pictures."""
    assert counted(Crowd(1, 3, 3, CrowdLevel.VERY_HIGH, 0.5)) == (
        "3 people  1 face  very high  density 0.50",
        "3 people  1 face  very high",
        "3 people  very high",
        "3 people",
        "3",
    )
    assert counted(Crowd(0, 1, 1, CrowdLevel.LOW, 0.1))[3] == "1 person"
