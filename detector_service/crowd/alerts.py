"""What a frame gives reason to warn of."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Final, Self

from crowd.detector.v1 import detector_pb2 as pb

_NAMES: Final[Mapping[str, pb.AlertLevel.ValueType]] = {
    "info": pb.ALERT_LEVEL_INFO,
    "warning": pb.ALERT_LEVEL_WARNING,
    "error": pb.ALERT_LEVEL_ERROR,
    "critical": pb.ALERT_LEVEL_CRITICAL,
}


@dataclass(frozen=True, slots=True)
class CrowdAlertLevels:
    """The severity of a crowd: each level begins at a multiple of the crowd threshold.

    Attributes:
        steps: (multiple, level) by rising multiple; the first multiple is 1.
    """

    steps: tuple[tuple[float, pb.AlertLevel.ValueType], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "warning=1,critical=2.5".

        Raises:
            ValueError: another form, an unknown level, or no level that begins at 1.
        """
        steps = []
        for part in text.split(","):
            name, equals, multiple = part.strip().partition("=")
            if not equals or name not in _NAMES:
                raise ValueError(
                    f"'{part.strip()}' is not LEVEL=MULTIPLE with a level of {', '.join(_NAMES)}"
                )
            steps.append((float(multiple), _NAMES[name]))
        steps.sort()
        rising = all(a < b and low < high for (a, low), (b, high) in pairwise(steps))
        if steps[0][0] != 1 or not rising or not all(isfinite(multiple) for multiple, _ in steps):
            raise ValueError(
                "the lowest multiple is 1, and higher levels begin at higher multiples"
            )
        return cls(tuple(steps))

    def of(self, total_people: int, threshold: int) -> pb.AlertLevel.ValueType | None:
        """Return the level of this many people, or None where they do not exceed the threshold."""
        if total_people <= threshold:
            return None
        reached = [
            level for multiple, level in self.steps if total_people > multiple * max(threshold, 1)
        ]
        return reached[-1] if reached else self.steps[0][1]
