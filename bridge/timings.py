"""Where the time goes, as histograms."""

from typing import Final

from opentelemetry.metrics import Meter

from telemetry.instruments import DURATIONS


class Timings:
    """What is told of each frame, and of the event loop; all in seconds."""

    def __init__(self, meter: Meter) -> None:
        """Make the histograms.

        Args:
            meter: theirs.
        """
        self._answer: Final = meter.create_histogram(
            "crowd_detector.bridge.answer.duration",
            "s",
            "From a frame's message until its answer was written.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )
        self._lag: Final = meter.create_histogram(
            "crowd_detector.event_loop.lag",
            "s",
            "How late the event loop ran.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )

    def answer(self, seconds: float) -> None:
        """Note how long a frame took from its message until its answer was written."""
        self._answer.record(seconds)

    def lag(self, seconds: float) -> None:
        """Note how late the event loop ran what was due."""
        self._lag.record(seconds)
