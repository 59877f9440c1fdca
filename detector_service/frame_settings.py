"""What a caller may set of the detection, and its ranges."""

from dataclasses import dataclass, replace
from typing import Final, Self

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.durations import seconds

MAX_CROWD_THRESHOLD: Final = 1_000_000
MAX_FRAME_RATE: Final = 1000.0
MAX_WAITING_FRAMES: Final = 32
MAX_PRIORITY: Final = 100
DEFAULT_PRIORITY: Final = 10
#: Seconds.
SHORTEST_MAX_AGE: Final = 0.001
LONGEST_MAX_AGE: Final = 3600.0
MAX_NAME_BYTES: Final = 256


class InvalidFieldError(ValueError):
    """A field of a message is out of its range.

    Attributes:
        field: its path.
        description: what is wrong, and what is allowed.
        reason: INVALID_SETTINGS, or INVALID_REQUEST for a field that is no setting.
    """

    def __init__(
        self,
        field: str,
        description: str,
        reason: pb.ErrorReason.ValueType = pb.ERROR_REASON_INVALID_SETTINGS,
    ) -> None:
        super().__init__(f"{field}: {description}")
        self.reason = reason
        self.field = field
        self.description = description


@dataclass(frozen=True, slots=True)
class FrameSettings:
    """What applies to one frame.

    Attributes:
        confidence_threshold: detections score more than this; in [0, 1].
        crowd_threshold: a crowd has more people than this.
    """

    confidence_threshold: float
    crowd_threshold: int

    def with_message(self, message: pb.DetectionSettings, field: str) -> Self:
        """Return these settings with those replaced that a message sets.

        Args:
            message: what the caller set.
            field: the message's path, for errors.

        Raises:
            InvalidFieldError: a value is out of its range or not a number.
        """
        settings = self
        if message.HasField("confidence_threshold"):
            value = message.confidence_threshold
            if not 0 <= value <= 1:  # NaN is not in any range
                raise InvalidFieldError(
                    f"{field}.confidence_threshold", f"must lie in [0, 1], not {value:g}"
                )
            settings = replace(settings, confidence_threshold=value)
        if message.HasField("crowd_threshold"):
            people = message.crowd_threshold
            if people > MAX_CROWD_THRESHOLD:
                raise InvalidFieldError(
                    f"{field}.crowd_threshold",
                    f"must be at most {MAX_CROWD_THRESHOLD:,} people, not {people:,}",
                )
            settings = replace(settings, crowd_threshold=people)
        return settings


def check_name(value: str, field: str) -> None:
    """Check a name that will be echoed.

    Raises:
        InvalidFieldError: it is too long.
    """
    size = len(value.encode())
    if size > MAX_NAME_BYTES:
        raise InvalidFieldError(
            field,
            f"must be at most {MAX_NAME_BYTES} bytes of UTF-8, not {size:,}",
            pb.ERROR_REASON_INVALID_REQUEST,
        )


def check_stream_config(config: pb.StreamConfig, defaults: FrameSettings) -> FrameSettings:
    """Check a stream's configuration; return the settings of frames that bring none of their own.

    Raises:
        InvalidFieldError: a value is out of its range or not a number.
    """
    check_name(config.camera, "config.camera")
    rate = config.max_frame_rate
    if not 0 <= rate <= MAX_FRAME_RATE:  # NaN is not in any range
        raise InvalidFieldError(
            "config.max_frame_rate",
            f"must lie in [0, {MAX_FRAME_RATE:g}] frames a second, not {rate:g}",
        )
    if config.buffer_frames > MAX_WAITING_FRAMES:
        raise InvalidFieldError(
            "config.buffer_frames",
            f"must be at most {MAX_WAITING_FRAMES} frames, not {config.buffer_frames}",
        )
    if config.priority > MAX_PRIORITY:
        raise InvalidFieldError(
            "config.priority",
            f"must be 1 to {MAX_PRIORITY}, or 0 for {DEFAULT_PRIORITY}, not {config.priority}",
        )
    if config.HasField("max_age"):
        age = seconds(config.max_age)
        if not SHORTEST_MAX_AGE <= age <= LONGEST_MAX_AGE:
            raise InvalidFieldError(
                "config.max_age",
                f"must lie in [{SHORTEST_MAX_AGE:g}, {LONGEST_MAX_AGE:g}] seconds, not {age:g}",
            )
    return defaults.with_message(config.settings, "config.settings")
