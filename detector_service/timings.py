"""Where the time goes, as histograms."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.metrics import Histogram, Meter

from telemetry.instruments import AGES, DURATIONS, NO_METER

#: What the time of a frame is made of: fields of the contract's StageTimes.
STAGES: Final = ("queued", "decode", "inference", "post_processing")

_STAGES: Final = {stage: {"stage": stage} for stage in STAGES}


class Timings:
    """What is told of each frame, and of the event loop; all in seconds."""

    def __init__(self, meter: Meter = NO_METER) -> None:
        """Make the histograms.

        Args:
            meter: theirs.
        """

        def histogram(name: str, description: str, bounds: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=bounds
            )

        self._frame: Final = histogram(
            "crowd_detector.frame.duration", "From a frame's arrival to its result.", DURATIONS
        )
        self._stage: Final = histogram(
            "crowd_detector.frame.stage.duration", "Parts of the frame's duration.", DURATIONS
        )
        self._age: Final = histogram(
            "crowd_detector.result.age",
            "From a frame's capture, by the client's clock, to its result.",
            AGES,
        )
        self._lag: Final = histogram(
            "crowd_detector.event_loop.lag", "How late the event loop ran.", DURATIONS
        )

    def frame(self, seconds: float) -> None:
        """Note how long a frame took until its result was there."""
        self._frame.record(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """Note how long one of the frame's `STAGES` took."""
        self._stage.record(seconds, _STAGES[stage])

    def age(self, seconds: float) -> None:
        """Note how old a result was."""
        self._age.record(seconds)

    def lag(self, seconds: float) -> None:
        """Note how late the event loop ran what was due."""
        self._lag.record(seconds)
