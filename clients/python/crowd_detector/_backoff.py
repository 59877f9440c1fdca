"""How long to wait before the next attempt."""

import random
from collections.abc import Callable
from typing import Final

_FIRST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 5.0


class Backoff:
    """Exponential back-off with "full jitter".

    The n-th wait is drawn evenly from 0 to min(5, 0.1 x 2^n) seconds, so that many clients who lost their
    service at the same moment do not come back at the same moment. Source: M. Brooker, "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        """Make one; `uniform` draws a number between two."""
        self._uniform: Final = uniform
        self._attempt = 0

    def next(self, at_least: float = 0.0) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            at_least: what the service asked for; the drawn time is added to it.
        """
        most = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0**self._attempt)
        if most < _MOST_SECONDS:
            self._attempt += 1
        return at_least + self._uniform(0.0, most)

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._attempt = 0
