"""What ages a scheduler without a fault would give: how long the arrivals alone make frames wait.

Cameras know nothing of each other, so now and then several frames are due at once, and all but the first wait
however they are served. Here they are, by a queue in which nothing costs time but the parts of a frame: no core
idles while there is something to do, the oldest frame goes first, no part is interrupted, and caches are always warm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from benchmarks import ages
from benchmarks.arrivals import Arrivals

_SECONDS: Final = 60.0
_TAIL: Final = 0.99
_DUE, _BEFORE, _INFERENCE, _AFTER = range(4)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a frame has done to it, by one core each, in seconds.

    Attributes:
        before: until inference may begin: transport, decoding, resizing.
        inference: of one model.
        models: that look at it, at the same time where cores are free.
        after: what follows the last inference.
    """

    before: float
    inference: float
    models: int
    after: float

    def alone(self, cores: int) -> float:
        """Return the age of a frame that finds so many cores free, in seconds."""
        return self.before + -(-self.models // cores) * self.inference + self.after


def tail_vs_alone(parts: Parts, streams: Sequence[Arrivals], cores: int) -> float:
    """Return the ages' p99 in a minute of these streams, by the age of a frame that is alone.

    Args:
        parts: of each frame.
        streams: less than the cores can do.
        cores: of the machine.
    """
    return ages.percentile(sorted(served(parts, streams, cores)), _TAIL) / parts.alone(cores)


def served(
    parts: Parts, streams: Sequence[Arrivals], cores: int, seconds: float = _SECONDS
) -> list[float]:
    """Return the age of every frame that is due in the first seconds, in no order.

    Args:
        parts: of each frame.
        streams: when frames are due.
        cores: how many parts may be done at once.
        seconds: how long frames are due.
    """
    due = sorted(
        stream.due(index) for stream in streams for index in range(stream.between(0.0, seconds))
    )
    durations = {_BEFORE: parts.before, _INFERENCE: parts.inference, _AFTER: parts.after}
    inferences_left = [parts.models] * len(due)
    ready: list[tuple[int, int]] = []  # frame and part; the oldest frame first
    happening = [(moment, frame, _DUE) for frame, moment in enumerate(due)]
    heapify(happening)
    found = []
    while happening:
        now, frame, what = heappop(happening)  # a frame is due, or a part of it ends
        if what == _DUE:
            heappush(ready, (frame, _BEFORE))
        else:
            cores += 1
            if what == _BEFORE:
                for _ in range(parts.models):
                    heappush(ready, (frame, _INFERENCE))
            elif what == _INFERENCE:
                inferences_left[frame] -= 1
                if not inferences_left[frame]:
                    heappush(ready, (frame, _AFTER))
            else:
                found.append(now - due[frame])
        while cores and ready:
            frame, part = heappop(ready)
            cores -= 1
            heappush(happening, (now + durations[part], frame, part))
    return found
