"""Frames of many callers, waiting: newest first to stay within a caller, in turn between callers."""

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Caller(Generic[T]):
    """What one stream or call has waiting and in work; changed only by its `FairQueue`."""

    __slots__ = ("capacity", "in_flight", "left", "listed", "max_in_flight", "waiting")

    def __init__(self, *, capacity: int, max_in_flight: int) -> None:
        """Make a caller.

        Args:
            capacity: frames of it that may wait, at least 1.
            max_in_flight: frames of it that may be taken and not yet released, at least 1.
        """
        self.capacity = capacity
        self.max_in_flight: Final = max_in_flight
        self.waiting: deque[T] = deque()
        self.in_flight = 0
        self.left = False
        self.listed = False

    @property
    def ready(self) -> bool:
        """Whether its next frame may be taken."""
        return bool(self.waiting) and self.in_flight < self.max_in_flight


class FairQueue(Generic[T]):
    """Bounded frame buffers of all callers, from which workers take frames.

    Within a caller frames leave in the order they came, and where one comes too many the *oldest* goes:
    who watches live wants what is, not what was. Between callers it goes round: each gives one frame
    in its turn, so that a flood from one takes nothing from the others.
    """

    def __init__(self) -> None:
        self._turns: deque[Caller[T]] = deque()
        self._size = 0

    def __len__(self) -> int:
        """How many frames are waiting."""
        return self._size

    def push(self, caller: Caller[T], item: T) -> T | None:
        """Add a frame; return the frame that had to make room for it, if any."""
        if caller.left:
            return item
        caller.waiting.append(item)
        dropped = caller.waiting.popleft() if len(caller.waiting) > caller.capacity else None
        self._size += dropped is None
        self._list(caller)
        return dropped

    def take(self) -> tuple[Caller[T], T] | None:
        """Take the next frame of the caller whose turn it is, or None where nothing may be taken."""
        while self._turns:
            caller = self._turns.popleft()
            caller.listed = False
            if not caller.ready:
                continue
            item = caller.waiting.popleft()
            caller.in_flight += 1
            self._size -= 1
            self._list(caller)
            return caller, item
        return None

    def release(self, caller: Caller[T]) -> None:
        """Say that a frame that was taken is answered, so that another may be taken in its place."""
        caller.in_flight -= 1
        self._list(caller)

    def resize(self, caller: Caller[T], capacity: int) -> list[T]:
        """Change how many frames of a caller may wait; return those that no longer fit, oldest first."""
        caller.capacity = capacity
        surplus = max(len(caller.waiting) - capacity, 0)
        self._size -= surplus
        return [caller.waiting.popleft() for _ in range(surplus)]

    def leave(self, caller: Caller[T]) -> None:
        """Forget a caller and what it has waiting."""
        caller.left = True
        self._size -= len(caller.waiting)
        caller.waiting.clear()

    def _list(self, caller: Caller[T]) -> None:
        if caller.ready and not caller.listed:
            caller.listed = True
            self._turns.append(caller)
