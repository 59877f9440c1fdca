"""What goes in: pictures, and how they are to be looked at."""

import os
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from crowd.detector.v1 import detector_pb2 as pb

from crowd_detector._times import to_timestamp

__all__ = ["DetectionSettings", "Frame", "ImageSource", "PixelFormat", "RawImage"]


class PixelFormat(StrEnum):
    """How a pixel of a `RawImage` is stored; 8 bits a channel.

    Example:
        >>> PixelFormat("bgr24") is PixelFormat.BGR24
        True
    """

    RGB24 = "rgb24"
    BGR24 = "bgr24"
    GRAY8 = "gray8"
    NV12 = "nv12"


@dataclass(frozen=True, slots=True)
class RawImage:
    """Pixels without a file format around them, top row first.

    Attributes:
        data: stride x height bytes (NV12: stride x height x 3 / 2).
        width: pixels; even for NV12.
        height: pixels; even for NV12.
        pixel_format: how a pixel is stored.
        stride: bytes from one row to the next; 0 means that rows follow without a gap.

    Example:
        >>> RawImage(bytes(640 * 480 * 3), width=640, height=480, pixel_format=PixelFormat.RGB24).width
        640
    """

    data: bytes
    width: int
    height: int
    pixel_format: PixelFormat = PixelFormat.BGR24
    stride: int = 0

    @classmethod
    def from_array(cls, array: Any, pixel_format: PixelFormat = PixelFormat.BGR24) -> "RawImage":
        """Take an array of pixels: NumPy's, or whatever else has the buffer protocol.

        Args:
            array: unsigned bytes, height x width x 3, or height x width for GRAY8, in C order.
            pixel_format: RGB24, BGR24 (as OpenCV reads pictures) or GRAY8.

        Raises:
            ValueError: the array has another shape, element type or order.

        Example:
            >>> array = memoryview(bytes(2 * 4 * 3)).cast("B", (2, 4, 3))
            >>> image = RawImage.from_array(array)
            >>> image.width, image.height
            (4, 2)
        """
        view = memoryview(array)
        channels = {PixelFormat.GRAY8: (), PixelFormat.NV12: None}.get(pixel_format, (3,))
        shape = view.shape or ()
        if channels is None or view.format != "B" or len(shape) < 2 or shape[2:] != channels:  # noqa: PLR2004 - height and width
            raise ValueError(
                f"an array of {view.format!r} with shape {shape} is no {pixel_format} picture; give "
                "unsigned bytes, height x width x 3 (height x width for gray8)"
            )
        if not view.c_contiguous:
            raise ValueError("the array's rows are not one after the other: make it contiguous")
        return cls(view.tobytes(), shape[1], shape[0], pixel_format)


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """What a caller may set of the detection; None leaves it to the service.

    Attributes:
        confidence_threshold: detections that score no more than this are left out; [0, 1].
        crowd_threshold: a crowd warning is given when more people than this are seen.

    Example:
        >>> DetectionSettings(confidence_threshold=0.3)
        DetectionSettings(confidence_threshold=0.3, crowd_threshold=None)
    """

    confidence_threshold: float | None = None
    crowd_threshold: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture to look at, and what its answer shall say of it.

    Attributes:
        image: the bytes of a JPEG, PNG or WebP file, or raw pixels.
        frame_id: echoed; any text up to 256 bytes.
        camera: echoed; empty means the stream's.
        capture_time: echoed; when the picture was taken.
        settings: for this frame only.
        context: anything of yours; it stays here, and comes back as ``result.frame.context``.
        traceparent: the span that the service's own of this frame shall belong to, as W3C Trace Context writes
            it; OpenTelemetry's ``propagate.inject`` gives it.
        tracestate: likewise, what goes along with it.

    Example:
        >>> Frame(b"...", frame_id="0001", context={"page": 7}).frame_id
        '0001'
    """

    image: "bytes | RawImage"
    frame_id: str = ""
    camera: str = ""
    capture_time: datetime | None = None
    settings: DetectionSettings | None = None
    context: Any = None
    traceparent: str = ""
    tracestate: str = ""


#: A picture in any of the forms that the clients take: the bytes of a file, its path, or more.
ImageSource: TypeAlias = bytes | str | os.PathLike[str] | RawImage | Frame


def to_frame(image: ImageSource) -> Frame:
    """Return a picture as a frame, read from its file where a path was given; may block.

    Raises:
        OSError: the file cannot be read.
    """
    match image:
        case Frame():
            return image
        case bytes() | RawImage():
            return Frame(image)
        case str() | os.PathLike():
            return Frame(Path(image).read_bytes())
    raise TypeError(
        f"a {type(image).__name__} is no picture; give the bytes of a file, a path, a RawImage or a Frame"
    )


def settings_message(settings: DetectionSettings | None) -> pb.DetectionSettings:
    """Return settings as a message; None sets nothing."""
    settings = settings or DetectionSettings()
    return pb.DetectionSettings(
        confidence_threshold=settings.confidence_threshold,
        crowd_threshold=settings.crowd_threshold,
    )


def frame_message(frame: Frame) -> pb.Frame:
    """Return a frame as a message."""
    message = pb.Frame(
        frame_id=frame.frame_id,
        camera=frame.camera,
        traceparent=frame.traceparent,
        tracestate=frame.tracestate,
    )
    if frame.settings is not None:
        message.settings.CopyFrom(settings_message(frame.settings))
    if frame.capture_time is not None:
        message.capture_time.CopyFrom(to_timestamp(frame.capture_time))
    if isinstance(frame.image, RawImage):
        raw = message.raw
        raw.width, raw.height, raw.stride = (
            frame.image.width,
            frame.image.height,
            frame.image.stride,
        )
        raw.pixel_format = pb.PixelFormat.Value(f"PIXEL_FORMAT_{frame.image.pixel_format.name}")
        raw.data = frame.image.data
    else:
        message.encoded = frame.image
    return message
