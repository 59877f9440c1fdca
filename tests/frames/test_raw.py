"""Raw pixels: every format, strides, and sizes that do not match."""

import cv2
import numpy as np
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from detector_service.errors import FrameRefused
from detector_service.frames.raw import from_raw

LIMIT = 10_000


def gradient(width: int = 8, height: int = 6) -> np.ndarray:
    """Make an image whose channels all differ."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 20, y * 30, (x + y) * 10], axis=2).astype(np.uint8)


def raw(pixels: np.ndarray, kind: pb.PixelFormat.ValueType, padding: int = 0) -> pb.RawImage:
    """Return an image as a message, with so many bytes after each row."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    stride = padded.shape[1] if padding else 0
    return pb.RawImage(
        width=width, height=height, pixel_format=kind, stride=stride, data=padded.tobytes()
    )


def decoded(image: pb.RawImage) -> np.ndarray:
    """Decode it."""
    return from_raw(image, image.data, max_pixels=LIMIT)


def reason_for(image: pb.RawImage) -> pb.ErrorReason.ValueType:
    """Return the reason for which it is refused."""
    with pytest.raises(FrameRefused) as refused:
        decoded(image)
    return refused.value.reason


@pytest.mark.parametrize("padding", [0, 1, 16])
def test_packed_formats_come_out_blue_green_red(padding: int) -> None:
    """RGB24, BGR24 and GRAY8 give the same picture, with or without bytes between the rows."""
    pixels = gradient()
    for image in (
        raw(pixels, pb.PIXEL_FORMAT_BGR24, padding),
        raw(pixels[..., ::-1], pb.PIXEL_FORMAT_RGB24, padding),
    ):
        np.testing.assert_array_equal(decoded(image), pixels)
    grey = decoded(raw(pixels[..., 0], pb.PIXEL_FORMAT_GRAY8, padding))
    np.testing.assert_array_equal(grey, np.repeat(pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize("padding", [0, 4])
def test_nv12_comes_out_as_the_picture_it_was_made_from(padding: int) -> None:
    """Luminance and half-size colour become pixels again, within what half-size colour loses."""
    pixels = np.full((6, 8, 3), (40, 90, 200), np.uint8)
    i420 = cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420)
    luminance, u, v = i420[:6], i420.ravel()[48:60], i420.ravel()[60:72]
    colour = np.stack([u, v], axis=1).reshape(3, 8)
    rows = np.pad(np.vstack([luminance, colour]), ((0, 0), (0, padding)))
    image = pb.RawImage(
        width=8,
        height=6,
        pixel_format=pb.PIXEL_FORMAT_NV12,
        stride=8 + padding if padding else 0,
        data=rows.tobytes(),
    )
    pixels_again = decoded(image)
    assert np.abs(pixels_again.astype(int) - pixels).max() <= 4


def test_no_data_is_refused() -> None:
    """No bytes, no image."""
    image = pb.RawImage(width=4, height=4, pixel_format=pb.PIXEL_FORMAT_BGR24)
    assert reason_for(image) == pb.ERROR_REASON_IMAGE_MISSING


@pytest.mark.parametrize("kind", [0, 99, -1])
def test_unknown_pixel_formats_are_refused(kind: int) -> None:
    """A value that this service does not know, or none, has a reason of its own."""
    image = pb.RawImage(width=4, height=4, pixel_format=kind, data=b"x" * 48)  # type: ignore[arg-type]
    assert reason_for(image) == pb.ERROR_REASON_UNSUPPORTED_PIXEL_FORMAT


@pytest.mark.parametrize(
    ("width", "height", "stride", "size", "kind"),
    [
        (4, 4, 0, 47, pb.PIXEL_FORMAT_BGR24),
        (4, 4, 0, 49, pb.PIXEL_FORMAT_BGR24),
        (4, 4, 11, 44, pb.PIXEL_FORMAT_BGR24),
        (4, 4, 16, 48, pb.PIXEL_FORMAT_RGB24),
        (0, 4, 0, 48, pb.PIXEL_FORMAT_BGR24),
        (4, 0, 0, 48, pb.PIXEL_FORMAT_GRAY8),
        (5, 4, 0, 30, pb.PIXEL_FORMAT_NV12),
        (4, 3, 0, 18, pb.PIXEL_FORMAT_NV12),
    ],
)
def test_sizes_that_do_not_match_are_refused(
    width: int, height: int, stride: int, size: int, kind: pb.PixelFormat.ValueType
) -> None:
    """Too few bytes, too many, a stride shorter than a row, no rows, odd NV12."""
    image = pb.RawImage(
        width=width, height=height, stride=stride, pixel_format=kind, data=b"x" * size
    )
    assert reason_for(image) == pb.ERROR_REASON_RAW_SIZE_MISMATCH


def test_too_many_pixels_are_refused_whatever_the_data() -> None:
    """The size is checked before anything of that size is made."""
    image = pb.RawImage(
        width=2**32 - 1, height=2**32 - 1, pixel_format=pb.PIXEL_FORMAT_GRAY8, data=b"x"
    )
    assert reason_for(image) == pb.ERROR_REASON_FRAME_TOO_LARGE


@given(
    width=st.integers(0, 40),
    height=st.integers(0, 40),
    stride=st.integers(0, 200),
    kind=st.integers(0, 5),
    size=st.integers(0, 5000),
)
def test_any_sizes_give_an_image_of_that_size_or_a_refusal(
    width: int, height: int, stride: int, kind: int, size: int
) -> None:
    """Whatever is claimed, the outcome is an image of the claimed size or a refusal."""
    image = pb.RawImage(
        width=width,
        height=height,
        stride=stride,
        pixel_format=kind,  # type: ignore[arg-type]
        data=b"x" * size,
    )
    try:
        assert decoded(image).shape == (height, width, 3)
    except FrameRefused as refused:
        assert str(refused)
