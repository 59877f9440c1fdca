"""Answers that become ready in any order, given on in the order of their frames."""

from typing import Generic, TypeVar

T = TypeVar("T")


class ReorderBuffer(Generic[T]):
    """Holds answers back until all before them are there; holds no more than are in work at once."""

    def __init__(self) -> None:
        self._next = 0
        self._early: dict[int, T] = {}

    def put(self, number: int, answer: T) -> list[T]:
        """Add an answer; return all that are now in order.

        Args:
            number: 0 for the first frame that was taken into work, and so on without a gap.
            answer: that frame's.
        """
        self._early[number] = answer
        ready = []
        while self._next in self._early:
            ready.append(self._early.pop(self._next))
            self._next += 1
        return ready
