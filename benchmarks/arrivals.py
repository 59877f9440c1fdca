"""When frames are due: on a clock, whatever becomes of those before.

A generator that waits for an answer before it sends again slows down with what it measures, and so
hides how long a camera would have waited. Here a frame is due when it is due, and ages count from then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The frames of one stream; times are seconds since all streams began.

    Attributes:
        first: when the first frame is due.
        interval: from one frame to the next.
    """

    first: float
    interval: float

    def due(self, index: int) -> float:
        """Return when a frame is due; the first has index 0."""
        return self.first + index * self.interval

    def between(self, begin: float, end: float) -> int:
        """Return how many frames are due from `begin` on and before `end`."""
        return self._before(end) - self._before(begin)

    def _before(self, moment: float) -> int:
        return max(math.ceil((moment - self.first) / self.interval), 0)


def of_streams(rates: Sequence[float], seed: int) -> list[Arrivals]:
    """Return the arrivals of streams that know nothing of each other, as cameras do not.

    Args:
        rates: of each, in frames a second.
        seed: the same gives the same moments.
    """
    random = Random(seed)
    return [Arrivals(random.random() / rate, 1 / rate) for rate in rates]
