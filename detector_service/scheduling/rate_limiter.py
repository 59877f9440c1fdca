"""How often a stream's frames are let through."""


class RateLimiter:
    """Lets through at most so many frames a second, evenly spaced.

    A leaky bucket as a meter, in the form of the generic cell rate algorithm (ITU-T I.371, annex A): a
    frame is let through unless it comes earlier than it is due by more than half an interval. That
    allowance keeps a camera's jitter from costing it every second frame.
    """

    def __init__(self, frames_per_second: float) -> None:
        """Make a limiter.

        Args:
            frames_per_second: 0 means no limit.
        """
        self._interval = 0.0
        self._slot = float("-inf")  # the even time of the last frame let through
        self._last = float("-inf")  # when it really came
        self.change(frames_per_second)

    def change(self, frames_per_second: float) -> None:
        """Change the rate; what was let through before still counts.

        Args:
            frames_per_second: 0 means no limit.
        """
        self._interval = 1 / frames_per_second if frames_per_second else 0.0
        self._slot = min(self._slot, self._last + self._interval / 2)

    def admit(self, now: float) -> bool:
        """Return whether a frame that comes now is let through.

        Args:
            now: seconds, by a clock that never goes back.
        """
        if now < self._slot + self._interval / 2:
            return False
        self._slot = max(self._slot + self._interval, now)
        self._last = now
        return True
