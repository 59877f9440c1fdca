"""Upright is upright, for each of the eight ways a picture can lie."""

from fractions import Fraction
from itertools import product

import av
import pytest
from crowd_detector.cli.orientation import Upright, display_matrix, upright_filters
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from .conftest import CLOCKWISE, make_video

MATRICES = [
    (a, b, c, d)
    for a, b, c, d in product((-1, 0, 1), repeat=4)
    if abs(a * d - b * c) == 1 and a * b == 0 and c * d == 0
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_each_point_goes_where_the_matrix_says(matrix: tuple[int, int, int, int]) -> None:
    """A mark in one corner of a picture ends where its place, multiplied by the matrix, is."""
    assert len(MATRICES) == 8
    a, b, c, d = matrix
    width, height = 32, 16
    picture = Image.new("RGB", (width, height), "black")
    picture.paste("white", (0, 0, 4, 4))
    frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    for name, argument in upright_filters((a, b, 0, c, d, 0, 0, 0, 1)):
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        graph.link_nodes(
            source, graph.add(name, argument or None), graph.add("buffersink")
        ).configure()
        graph.push(frame)
        turned = graph.pull()
        assert isinstance(turned, av.VideoFrame)
        frame = turned
    upright = frame.to_image()
    # The mark lies at the left and the top; -1 in the matrix's column sends it to the far side.
    right, bottom = a + c < 0, b + d < 0
    assert upright.size == ((width, height) if b == 0 else (height, width))
    corner = (upright.width - 2 if right else 1, upright.height - 2 if bottom else 1)
    assert upright.getpixel(corner) == (255, 255, 255)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=9, max_size=9))
def test_any_matrix_is_one_of_eight(matrix: list[int]) -> None:
    """Even one that makes no sense."""
    assert len(upright_filters(matrix)) <= 2


def test_a_phones_video(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was stored lying comes out standing."""
    path = make_video(tmp_path_factory.mktemp("phone") / "phone.mp4", (0, 40), matrix=CLOCKWISE)
    upright = Upright()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert display_matrix(frame)[:5] == CLOCKWISE[:5]
            turned = upright(frame)
            assert (turned.width, turned.height) == (144, 192)
            assert turned.pts == frame.pts
