"""How many frames a second a contender answers, as far as is known: what its loads are shares of."""

from collections.abc import Sequence
from statistics import median
from typing import Final


class Capacity:
    """The median of what it answered while it was saturated; until there is that, of its calibration.

    Not the most that it ever answered: on a machine whose speed varies that is luck, and half of it is
    more than half of what the contender usually can do. Where nothing was answered, as within a short window on
    a busy machine, nothing is learned: no load could be a share of it.
    """

    def __init__(self, calibrated: Sequence[float]) -> None:
        """Begin.

        Args:
            calibrated: frames a second in each of its calibrations, at least one.
        """
        self._calibrated: Final = [fps for fps in calibrated if fps > 0]
        self._saturated: Final[list[float]] = []

    @property
    def fps(self) -> float:
        """Frames a second; 0 where nothing was ever answered."""
        return median(self._saturated or self._calibrated or [0.0])

    def add(self, fps: float) -> None:
        """Take in what a measurement at saturation gave.

        Args:
            fps: frames a second.
        """
        if fps > 0:
            self._saturated.append(fps)
