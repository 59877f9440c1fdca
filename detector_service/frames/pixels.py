"""What the rest of the service means by an image."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from crowd.detector.v1 import detector_pb2 as pb
from numpy.typing import NDArray

from detector_service.errors import FrameRefused

#: Shape (height, width, 3), channels blue, green, red.
Image: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright frame, decoded.

    Attributes:
        pixels: all of its pixels, or fewer, where it was decoded at a reduced size.
        width: of the frame, in its own pixels.
        height: of the frame, in its own pixels.
    """

    pixels: Image
    width: int
    height: int

    @classmethod
    def whole(cls, pixels: Image) -> "Picture":
        """Return the picture of a frame that has all of its pixels."""
        height, width = pixels.shape[:2]
        return cls(pixels, width, height)


def refuse_too_many_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse a size that is over the limit, before anything of that size is allocated.

    Raises:
        FrameRefused: FRAME_TOO_LARGE.
    """
    if width * height > max_pixels:
        raise FrameRefused(
            pb.ERROR_REASON_FRAME_TOO_LARGE,
            f"the image has {width} x {height} pixels, more than the {max_pixels:,} that "
            "MAX_IMAGE_PIXELS allows; send a smaller one",
        )
