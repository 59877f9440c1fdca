"""The one resize of a frame: into the model's input, and boxes back out of it.

The geometry is that of Ultralytics' ``LetterBox`` and ``scale_boxes`` (ultralytics 8.4,
``data/augment.py`` and ``utils/ops.py``), to the pixel: a model sees the same picture here as there.
"""

from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from detector_service.engines.base import InputShape, Prepared
from detector_service.frames.pixels import Image

#: The grey around a picture that does not fill the model's input, as in training.
_PADDING: Final = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame of one size lies in the model's input; all in pixels.

    Attributes:
        frame_width: of the frame.
        frame_height: of the frame.
        width: of the model's input.
        height: of the model's input.
        inner_width: of the resized frame within it.
        inner_height: of the resized frame within it.
        left: where the resized frame begins.
        top: where the resized frame begins.
    """

    frame_width: int
    frame_height: int
    width: int
    height: int
    inner_width: int
    inner_height: int
    left: int
    top: int

    @classmethod
    def fit(
        cls, frame_width: int, frame_height: int, *, longest: int, stride: int, fixed: InputShape
    ) -> Self:
        """Fit a frame into the smallest input that suits it.

        Args:
            frame_width: pixels.
            frame_height: pixels.
            longest: the input's longest side where the model takes any size; a multiple of stride.
            stride: sides of the input are multiples of it.
            fixed: the sides that the model prescribes; the frame is centred in them.
        """
        target_height, target_width = fixed.height or longest, fixed.width or longest
        gain = min(target_height / frame_height, target_width / frame_width)
        inner_width = max(round(frame_width * gain), 1)
        inner_height = max(round(frame_height * gain), 1)
        pad_x, pad_y = target_width - inner_width, target_height - inner_height
        if fixed.width is None:
            pad_x %= stride
        if fixed.height is None:
            pad_y %= stride
        return cls(
            frame_width=frame_width,
            frame_height=frame_height,
            width=inner_width + pad_x,
            height=inner_height + pad_y,
            inner_width=inner_width,
            inner_height=inner_height,
            # 0.1 puts the odd pixel at the right and at the bottom, as Ultralytics does.
            left=round(pad_x / 2 - 0.1),
            top=round(pad_y / 2 - 0.1),
        )

    def apply(self, image: Image, out: Prepared) -> None:
        """Resize a frame into the model's input buffer; no other copy is made.

        Args:
            image: shape (frame_height, frame_width, 3), or less, of a frame that was decoded at a reduced size.
            out: shape (1, height, width, 3).
        """
        canvas = out[0]
        right, bottom = self.left + self.inner_width, self.top + self.inner_height
        canvas[: self.top] = _PADDING
        canvas[bottom:] = _PADDING
        canvas[self.top : bottom, : self.left] = _PADDING
        canvas[self.top : bottom, right:] = _PADDING
        inner = canvas[self.top : bottom, self.left : right]
        if image.shape == inner.shape:
            inner[:] = image
        else:
            cv2.resize(
                image,
                (self.inner_width, self.inner_height),
                dst=inner,
                interpolation=cv2.INTER_LINEAR,
            )

    def to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring boxes from the model's input into the frame, and cut them at its edges.

        Like Ultralytics, this works out scale and offset anew from the two sizes. Where a side was
        rounded down to a whole stride that is not quite the inverse of `apply`, by at most 0.5 %.

        Args:
            boxes: shape (n, 4): x1, y1, x2, y2 in pixels of the input.

        Returns:
            Shape (n, 4), in pixels of the frame.
        """
        gain = min(self.height / self.frame_height, self.width / self.frame_width)
        inner_width = max(round(self.frame_width * gain), 1)
        inner_height = max(round(self.frame_height * gain), 1)
        left = round((self.width - inner_width) / 2 - 0.1)
        top = round((self.height - inner_height) / 2 - 0.1)
        offset = np.array([left, top] * 2, np.float32)
        scale = np.array(
            [inner_width / self.frame_width, inner_height / self.frame_height] * 2, np.float32
        )
        edge = np.array([self.frame_width, self.frame_height] * 2, np.float32)
        return np.asarray(np.clip((boxes - offset) / scale, 0, edge), np.float32)
