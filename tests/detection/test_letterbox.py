"""The one resize: geometry into the model's input and back out of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.detection.letterbox import Letterbox
from detector_service.engines.base import InputShape
from tests.detection.oracle import scale_boxes

ANY = InputShape(None, None)
sides = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((1280, 720), (416, 256)),
        ((720, 1280), (256, 416)),
        ((640, 480), (416, 320)),
        ((300, 300), (416, 416)),
    ],
)
def test_inputs_are_rectangular(frame: tuple[int, int], expected: tuple[int, int]) -> None:
    """The longest side is the model's, the other the frame's shape, padded to the stride."""
    box = Letterbox.fit(*frame, longest=416, stride=32, fixed=ANY)
    assert (box.width, box.height) == expected


def test_a_fixed_input_is_filled_around_the_frame() -> None:
    """A model of one size gets the frame in the middle of it."""
    box = Letterbox.fit(1280, 720, longest=640, stride=32, fixed=InputShape(640, 640))
    assert (box.width, box.height, box.left, box.top, box.inner_width, box.inner_height) == (
        640,
        640,
        0,
        140,
        640,
        360,
    )


@given(width=sides, height=sides, longest=st.sampled_from([32, 320, 416, 640]), fixed=st.booleans())
def test_the_geometry_is_that_of_ultralytics(
    width: int, height: int, longest: int, fixed: bool
) -> None:
    """Sizes and offsets equal those that Ultralytics' LetterBox computes, for every frame."""
    box = Letterbox.fit(
        width,
        height,
        longest=longest,
        stride=32,
        fixed=InputShape(longest, longest) if fixed else ANY,
    )
    gain = min(longest / height, longest / width)
    inner = max(round(width * gain), 1), max(round(height * gain), 1)
    pad = [
        float(side - size) if fixed else float(np.mod(side - size, 32))
        for side, size in zip((longest,) * 2, inner, strict=True)
    ]
    left, top = (round(value / 2 - 0.1) for value in pad)
    right, bottom = (round(value / 2 + 0.1) for value in pad)
    assert (box.inner_width, box.inner_height, box.left, box.top) == (*inner, left, top)
    assert (box.width, box.height) == (left + inner[0] + right, top + inner[1] + bottom)
    assert box.width % 32 == box.height % 32 == 0


coordinates = st.floats(-100, 6000, width=32)


@given(
    width=sides,
    height=sides,
    rows=st.lists(st.tuples(*[coordinates] * 4), min_size=1, max_size=4),
    fixed=st.booleans(),
)
def test_boxes_come_back_as_ultralytics_brings_them(
    width: int, height: int, rows: list[tuple[float, ...]], fixed: bool
) -> None:
    """Boxes in the frame equal those of Ultralytics' scale_boxes, for every frame."""
    box = Letterbox.fit(
        width, height, longest=416, stride=32, fixed=InputShape(416, 416) if fixed else ANY
    )
    boxes = np.array(rows, np.float32)
    expected = scale_boxes((box.height, box.width), boxes.copy(), (height, width))
    np.testing.assert_allclose(box.to_frame(boxes), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("frame", [(1280, 720), (1920, 1080), (640, 480), (720, 1280), (512, 512)])
def test_boxes_of_usual_frames_come_back_to_where_they_were(frame: tuple[int, int]) -> None:
    """A box laid into the input and brought back is the same box."""
    width, height = frame
    box = Letterbox.fit(width, height, longest=416, stride=32, fixed=ANY)
    inside = np.array(
        [[0, 0, width, height], [0.25 * width, 0.1 * height, 0.5 * width, 0.9 * height]]
    )
    scale = np.array([box.inner_width / width, box.inner_height / height] * 2)
    laid = inside * scale + [box.left, box.top] * 2
    np.testing.assert_allclose(box.to_frame(laid.astype(np.float32)), inside, atol=0.01)


@given(
    width=sides,
    height=sides,
    boxes=st.lists(st.tuples(*[st.floats(-2000, 2000, width=32)] * 4), max_size=5),
)
def test_boxes_never_leave_the_frame(
    width: int, height: int, boxes: list[tuple[float, ...]]
) -> None:
    """Whatever a model says, corners lie within the frame."""
    box = Letterbox.fit(width, height, longest=416, stride=32, fixed=ANY)
    back = box.to_frame(np.array(boxes, np.float32).reshape(-1, 4))
    assert (back >= 0).all()
    assert (back <= np.array([width, height] * 2)).all()


def test_the_picture_is_written_into_the_buffer_and_the_rest_is_grey() -> None:
    """`apply` fills every byte of a used buffer: the picture within, 114 around."""
    frame = np.full((100, 37, 3), (10, 20, 30), np.uint8)
    box = Letterbox.fit(37, 100, longest=96, stride=32, fixed=InputShape(96, 96))
    buffer = np.full((1, 96, 96, 3), 255, np.uint8)
    box.apply(frame, buffer)
    inner = buffer[0, box.top : box.top + box.inner_height, box.left : box.left + box.inner_width]
    assert (inner == (10, 20, 30)).all()
    assert (buffer == 114).all(axis=3).sum() == 96 * 96 - box.inner_width * box.inner_height


def test_a_frame_of_the_right_size_is_copied_as_it_is() -> None:
    """No resampling where none is needed."""
    frame = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    buffer = np.empty((1, 64, 96, 3), np.uint8)
    Letterbox.fit(96, 64, longest=96, stride=32, fixed=ANY).apply(frame, buffer)
    np.testing.assert_array_equal(buffer[0], frame)
