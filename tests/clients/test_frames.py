"""What goes in, as messages."""

import array
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import DetectionSettings, Frame, PixelFormat, RawImage
from crowd_detector.frames import frame_message, to_frame
from hypothesis import given
from hypothesis import strategies as st


def test_all_of_a_frame_is_sent_but_its_context() -> None:
    """A time in any zone is the same time; what is not set is not sent."""
    time = datetime(2026, 1, 2, 3, 4, 5, 678000, timezone(timedelta(hours=2)))
    message = frame_message(
        Frame(b"jpeg", "7", "door", time, DetectionSettings(crowd_threshold=3), context=object())
    )
    assert (message.frame_id, message.camera, message.encoded) == ("7", "door", b"jpeg")
    assert message.capture_time.ToDatetime(UTC) == time
    assert message.settings == pb.DetectionSettings(crowd_threshold=3)
    assert frame_message(Frame(b"jpeg")) == pb.Frame(encoded=b"jpeg")


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_raw_pixels(pixel_format: PixelFormat) -> None:
    """Every format has its number in the contract."""
    message = frame_message(Frame(RawImage(b"pixels", 4, 2, pixel_format, stride=16)))
    assert message.raw == pb.RawImage(
        width=4,
        height=2,
        stride=16,
        data=b"pixels",
        pixel_format=pb.PixelFormat.Value(f"PIXEL_FORMAT_{pixel_format.name}"),
    )


@given(st.integers(1, 9), st.integers(1, 9))
def test_an_array_is_taken_as_it_lies(height: int, width: int) -> None:
    """Its shape gives the sizes."""
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    image = RawImage.from_array(pixels)
    assert (image.width, image.height, image.data) == (width, height, pixels.tobytes())
    gray = RawImage.from_array(pixels[:, :, 0].copy(), PixelFormat.GRAY8)
    assert (gray.width, gray.height, len(gray.data)) == (width, height, height * width)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.uint8)[:, ::-1],
        array.array("B", [1, 2, 3]),
    ],
)
def test_an_array_that_is_no_picture_is_refused(wrong: object) -> None:
    """And the sentence says what was expected."""
    with pytest.raises(ValueError, match=r"height x width|contiguous"):
        RawImage.from_array(wrong)


def test_nv12_is_no_array() -> None:
    """Its planes have two shapes."""
    with pytest.raises(ValueError, match="nv12"):
        RawImage.from_array(np.zeros((2, 2), np.uint8), PixelFormat.NV12)


def test_what_is_no_picture() -> None:
    """Is said by its type."""
    with pytest.raises(TypeError, match="a list is no picture"):
        to_frame([b"jpeg"])  # type: ignore[arg-type]
