"""JPEG, PNG and WebP files: the header first, then, if it is acceptable, the pixels."""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
import simplejpeg
from crowd.detector.v1 import detector_pb2 as pb
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from detector_service.errors import FrameRefused
from detector_service.frames.pixels import Image, Picture, refuse_too_many_pixels

Format = Literal["JPEG", "PNG", "WEBP"]

#: What a JPEG can be reduced by while it is decoded, without loss of speed: libjpeg-turbo has fast inverse
#: transforms of blocks of 8 to blocks of 4, 2 and 1, and slow ones of blocks of other sizes.
_REDUCTIONS: Final = (8, 4, 2)

#: Not Image.open, which takes a JPEG with previews (MPO, as telephones write) for an animation.
_OPEN: Final[dict[Format, type[Any]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
}

_EXIF_ORIENTATION: Final = 0x0112  # Exif 2.32, section 4.6.4

# The limit on pixels is checked here, with a reason of its own; Pillow's, a global, would only warn.
PillowImage.MAX_IMAGE_PIXELS = None
# What is odd about a client's EXIF block is neither this service's business nor its log's.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before any of its pixels is decoded.

    Attributes:
        format: the kind of file.
        width: in pixels, as stored.
        height: in pixels, as stored.
        orientation: 1 to 8, as Exif 2.32 defines them; 1 where the file says nothing sensible.
    """

    format: Format
    width: int
    height: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        turned = self.orientation >= 5  # noqa: PLR2004 - 5 to 8 exchange rows and columns
        return (self.height, self.width) if turned else (self.width, self.height)


def decode(data: bytes, *, max_pixels: int) -> Image:
    """Decode an image file into upright pixels, all of them.

    Args:
        data: the whole file.
        max_pixels: width x height may not exceed it.

    Raises:
        FrameRefused: see `decode_picture`.
    """
    return decode_picture(data, max_pixels=max_pixels).pixels


def decode_picture(
    data: bytes,
    *,
    max_pixels: int,
    enough: Callable[[int, int], tuple[int, int]] | None = None,
) -> Picture:
    """Decode an image file into an upright picture.

    Args:
        data: the whole file.
        max_pixels: width x height may not exceed it.
        enough: gives the width and height that suffice of an upright frame of some width and height: a JPEG
            of at least twice that is decoded at a half, a quarter or an eighth. None: all pixels are wanted.

    Raises:
        FrameRefused: IMAGE_MISSING, UNSUPPORTED_IMAGE, ANIMATED_IMAGE, FRAME_TOO_LARGE (all
            before any pixel is decoded), TRUNCATED_IMAGE or CORRUPT_IMAGE.
    """
    header = read_header(data, max_pixels=max_pixels)
    if _ends_early(header.format, data):
        raise _truncated(header.format, data)
    width, height = header.upright
    factor = reduction(width, height, *enough(width, height)) if enough else 1
    expected = (-(-header.height // factor), -(-header.width // factor))
    jpeg = header.format == "JPEG"
    pixels = _decode_jpeg(data, *expected) if jpeg else _decode_with_opencv(data)
    if pixels is None or pixels.shape[:2] not in (expected, (header.height, header.width)):
        raise FrameRefused(
            pb.ERROR_REASON_CORRUPT_IMAGE,
            f"the {header.format} image cannot be decoded: its data is damaged",
        )
    return Picture(_upright(pixels, header.orientation), width, height)


def reduction(width: int, height: int, enough_width: int, enough_height: int) -> int:
    """Return by how much a picture can be reduced so that enough of it is left: 8, 4, 2, or 1 for not at all."""
    return next(
        (
            factor
            for factor in _REDUCTIONS
            if width >= factor * enough_width and height >= factor * enough_height
        ),
        1,
    )


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """Read format, size and orientation; no pixel is decoded.

    Raises:
        FrameRefused: IMAGE_MISSING, UNSUPPORTED_IMAGE, ANIMATED_IMAGE, FRAME_TOO_LARGE,
            TRUNCATED_IMAGE or CORRUPT_IMAGE.
    """
    if not data:
        raise FrameRefused(pb.ERROR_REASON_IMAGE_MISSING, "the image is empty: 0 bytes")
    kind = _sniff(data)
    if kind is None:
        raise FrameRefused(
            pb.ERROR_REASON_UNSUPPORTED_IMAGE,
            f"not a JPEG, PNG or WebP image: it starts with {data[:8].hex(' ')}",
        )
    try:
        with _OPEN[kind](io.BytesIO(data)) as image:
            if getattr(image, "is_animated", False):
                raise FrameRefused(
                    pb.ERROR_REASON_ANIMATED_IMAGE,
                    f"the {kind} image is animated; send one frame at a time",
                )
            width, height = image.size
            refuse_too_many_pixels(width, height, max_pixels)
            return Header(kind, width, height, _orientation(image))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        # Pillow tells a short file and a damaged one apart by texts only.
        if _ends_early(kind, data):
            raise _truncated(kind, data) from error
        raise FrameRefused(
            pb.ERROR_REASON_CORRUPT_IMAGE, f"the header of the {kind} image cannot be read: {error}"
        ) from error


def _sniff(data: bytes) -> Format | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _ends_early(kind: Format, data: bytes) -> bool:
    """Whether the file lacks the end that its format demands."""
    match kind:
        case "JPEG":
            return data.rfind(b"\xff\xd9") < 0
        case "PNG":
            return data.rfind(b"IEND\xaeB`\x82") < 0
        case "WEBP":
            return len(data) < int.from_bytes(data[4:8], "little") + 8


def _truncated(kind: Format, data: bytes) -> FrameRefused:
    return FrameRefused(
        pb.ERROR_REASON_TRUNCATED_IMAGE,
        f"the {kind} image ends early, after {len(data):,} bytes; send all of it",
    )


def _orientation(image: PillowImage.Image) -> int:
    try:
        # The base class's method: that of PNG files would decode the picture, in search of a later
        # EXIF chunk.
        value = PillowImage.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - whatever is wrong with the EXIF block, the picture is not
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1  # noqa: PLR2004


def _decode_jpeg(data: bytes, height: int, width: int) -> Image | None:
    """Decode a JPEG at the smallest size that is at least this, or at its own."""
    try:
        # libjpeg-turbo itself: half of OpenCV's time for the same pixels (docs/performance.md).
        return np.asarray(simplejpeg.decode_jpeg(data, "BGR", min_height=height, min_width=width))
    except ValueError as error:
        # The end marker that was found may have been that of a thumbnail in the header.
        if "Premature end of JPEG file" in str(error):
            raise _truncated("JPEG", data) from error
    # Cameras write JPEGs with small faults, which OpenCV passes over.
    return _decode_with_opencv(data)


def _decode_with_opencv(data: bytes) -> Image | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _upright(pixels: Image, orientation: int) -> Image:
    """Undo what the camera did to the picture (Exif 2.32, table of tag 0x0112)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:  # noqa: PLR2004 - 5 to 8 exchange rows and columns
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
