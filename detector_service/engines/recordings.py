"""Which shapes of batches are replayed from a recording, and which are computed step by step.

A GPU replays a recording in less time than a processor takes to order each of its steps; but a recording holds
memory, and is of one shape. So those are recorded that keep coming; a few are kept, and one in use is never given
up for another. A batch of three is replayed from a recording of four: so there are few shapes.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog

_log = structlog.get_logger()

Recording = TypeVar("Recording")
#: Images, height and width.
Shape = tuple[int, int, int]

_KEPT: Final = 8
#: How often a shape is seen before it is recorded.
_RECORD_AFTER: Final = 20
#: A recording makes room for another once so many batches have come since it was last used.
_UNUSED_AFTER: Final = 1000
#: Shapes that are counted; more than any camera has.
_COUNTED: Final = 100


class Recordings(Generic[Recording]):
    """The recordings of one model; used by one thread at a time."""

    def __init__(self, record: Callable[[Shape], Recording], most: int) -> None:
        """Make it.

        Args:
            record: makes a recording; where it raises, the shape is never tried again.
            most: images in a batch.
        """
        self._record: Final = record
        self._most: Final = most
        self._batches = 0
        self._seen: Final[Counter[Shape]] = Counter()
        self._failed: Final[set[Shape]] = set()
        self._kept: Final[dict[Shape, Recording]] = {}
        self._last_used: Final[dict[Shape, int]] = {}

    def find(self, images: int, height: int, width: int) -> Recording | None:
        """Return the recording that a batch is to be replayed from; None where it is to be computed."""
        shape = (_rounded_up(images, self._most), height, width)
        self._batches += 1
        if shape not in self._kept and self._deserves_one(shape):
            self._keep(shape)
        if shape in self._kept:
            self._last_used[shape] = self._batches
        return self._kept.get(shape)

    def clear(self) -> None:
        """Let go of all; those that keep coming are recorded again."""
        self._kept.clear()
        self._last_used.clear()
        self._seen.clear()

    def _deserves_one(self, shape: Shape) -> bool:
        if shape in self._failed:
            return False
        if len(self._seen) >= _COUNTED:
            self._seen.clear()
        self._seen[shape] += 1
        return self._seen[shape] >= _RECORD_AFTER and self._has_room()

    def _has_room(self) -> bool:
        """Return whether one more can be kept without giving up one that is in use."""
        if len(self._kept) < _KEPT:
            return True
        return self._batches - min(self._last_used.values()) > _UNUSED_AFTER

    def _keep(self, shape: Shape) -> None:
        if len(self._kept) >= _KEPT:
            longest_unused = min(self._last_used, key=lambda kept: self._last_used[kept])
            del self._kept[longest_unused], self._last_used[longest_unused]
        del self._seen[shape]
        try:
            self._kept[shape] = self._record(shape)
        except Exception as error:  # noqa: BLE001 - without a recording there is still the slower way
            self._failed.add(shape)
            _log.warning(
                "engine.not_recorded", shape=shape, message=f"{error}; it is computed step by step"
            )


def _rounded_up(images: int, most: int) -> int:
    """Return the next power of two, or the largest batch."""
    return min(1 << (images - 1).bit_length(), most)
