"""All that is done to one frame, on one worker thread: bytes in, boxes and figures out."""

from dataclasses import dataclass
from typing import Final

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.crowd.analysis import CrowdFigures, analyse
from detector_service.detection.detector import Detections, Detector
from detector_service.errors import FrameRefused
from detector_service.frames import encoded, raw
from detector_service.frames.pixels import Picture


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may not exceed.

    Attributes:
        max_bytes: of the image as sent.
        max_pixels: width x height.
    """

    max_bytes: int
    max_pixels: int


class Pipeline:
    """One thread's pipeline; several work side by side on the same detector."""

    def __init__(
        self, detector: Detector, limits: FrameLimits, *, reduced_decoding: bool = False
    ) -> None:
        """Make it.

        Args:
            detector: the models.
            limits: what a frame may not exceed.
            reduced_decoding: whether JPEGs much larger than the models' input are decoded at a reduced size.
        """
        self._worker: Final = detector.worker()
        self._limits: Final = limits
        self._enough: Final = detector.enough if reduced_decoding else None

    def decode(self, frame: pb.Frame) -> Picture:
        """Return a frame, upright.

        Raises:
            FrameRefused: the frame's image is not acceptable.
        """
        kind = frame.WhichOneof("image")
        if kind is None:
            raise FrameRefused(
                pb.ERROR_REASON_IMAGE_MISSING,
                "the frame carries no image; set `encoded` or `raw`",
            )
        data = frame.encoded if kind == "encoded" else frame.raw.data  # each access makes a copy
        if len(data) > self._limits.max_bytes:
            raise FrameRefused(
                pb.ERROR_REASON_FRAME_TOO_LARGE,
                f"the image has {len(data):,} bytes, more than the {self._limits.max_bytes:,} that "
                "MAX_FRAME_BYTES allows; send a smaller one",
            )
        if kind == "encoded":
            return encoded.decode_picture(
                data, max_pixels=self._limits.max_pixels, enough=self._enough
            )
        return Picture.whole(raw.from_raw(frame.raw, data, max_pixels=self._limits.max_pixels))

    def find(
        self, picture: Picture, confidence_threshold: float
    ) -> tuple[Detections, CrowdFigures]:
        """Find faces and bodies, and say how crowded the frame is.

        Args:
            picture: as `decode` gives it.
            confidence_threshold: detections score more than this; in [0, 1].
        """
        found = self._worker.detect_in(picture, confidence_threshold)
        return found, analyse(found.faces, found.bodies, picture.width, picture.height)
