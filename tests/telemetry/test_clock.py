"""Times of one clock told as times of another."""

import time

from telemetry.clock import WallClock, nanoseconds


def test_it_is_now() -> None:
    """What happened between two looks at the time of day is told as between them."""
    clock = WallClock()
    clock.offset()
    before = time.time_ns()
    at = time.perf_counter()
    after = time.time_ns()
    told = clock.offset() + nanoseconds(at)
    slack = 1_000_000  # the machine's clock is slewed, and its looks have an end
    assert before - slack <= told <= after + slack


def test_two_clocks_agree() -> None:
    """As those of two processes of one machine have to."""
    assert abs(WallClock().offset() - WallClock().offset()) < 1_000_000
