"""Raw pixels: sizes checked, then brought into the one form that the rest works on."""

from typing import Final

import cv2
import numpy as np
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.errors import FrameRefused
from detector_service.frames.pixels import Image, refuse_too_many_pixels

_BYTES_PER_PIXEL: Final = {
    pb.PIXEL_FORMAT_RGB24: 3,
    pb.PIXEL_FORMAT_BGR24: 3,
    pb.PIXEL_FORMAT_GRAY8: 1,
    pb.PIXEL_FORMAT_NV12: 1,
}


def from_raw(raw: pb.RawImage, data: bytes, *, max_pixels: int) -> Image:
    """Return the pixels of a raw image.

    Args:
        raw: sizes and format as sent.
        data: its data.
        max_pixels: width x height may not exceed it.

    Returns:
        The image; for BGR24 a view of the message's own bytes, read-only.

    Raises:
        FrameRefused: IMAGE_MISSING, UNSUPPORTED_PIXEL_FORMAT, FRAME_TOO_LARGE or
            RAW_SIZE_MISMATCH.
    """
    width, height = raw.width, raw.height
    if not data:
        raise FrameRefused(pb.ERROR_REASON_IMAGE_MISSING, "the raw image is empty: 0 bytes")
    pixel_bytes = _BYTES_PER_PIXEL.get(raw.pixel_format)
    if pixel_bytes is None:
        known = ", ".join(pb.PixelFormat.Name(value) for value in _BYTES_PER_PIXEL)
        raise FrameRefused(
            pb.ERROR_REASON_UNSUPPORTED_PIXEL_FORMAT,
            f"pixel format {raw.pixel_format} is not known; known are {known}",
        )
    if width < 1 or height < 1:
        raise _mismatch(f"width and height are at least 1, not {width} and {height}")
    refuse_too_many_pixels(width, height, max_pixels)
    row = width * pixel_bytes
    stride = raw.stride or row
    if stride < row:
        raise _mismatch(f"a row of {width} pixels takes {row} bytes, more than the stride {stride}")
    planar = raw.pixel_format == pb.PIXEL_FORMAT_NV12
    if planar and (width % 2 or height % 2):
        raise _mismatch(f"NV12 needs an even width and height, not {width} and {height}")
    rows = height * 3 // 2 if planar else height
    if len(data) != stride * rows:
        raise _mismatch(
            f"{width} x {height} pixels at a stride of {stride} take {stride * rows:,} bytes, "
            f"but {len(data):,} came"
        )
    pixels = np.frombuffer(data, np.uint8).reshape(rows, stride)[:, :row]
    match raw.pixel_format:
        case pb.PIXEL_FORMAT_BGR24:
            return pixels.reshape(height, width, 3)
        case pb.PIXEL_FORMAT_RGB24:
            return _converted(pixels.reshape(height, width, 3), cv2.COLOR_RGB2BGR)
        case pb.PIXEL_FORMAT_GRAY8:
            return _converted(pixels, cv2.COLOR_GRAY2BGR)
        case _:
            return _converted(np.ascontiguousarray(pixels), cv2.COLOR_YUV2BGR_NV12)


def _converted(pixels: Image, code: int) -> Image:
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _mismatch(message: str) -> FrameRefused:
    return FrameRefused(pb.ERROR_REASON_RAW_SIZE_MISMATCH, message)
