"""What a process did, once a minute, in one line of its log; none while there was nothing to do."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

_log = structlog.get_logger()

SECONDS: Final = 60.0


async def summarise(
    event: str, figures: Callable[[float], Mapping[str, Any] | None], *, seconds: float = SECONDS
) -> None:
    """Log figures until cancelled, and then once more.

    Args:
        event: its name.
        figures: returns what was done since it was asked before, which was so many seconds ago; None: nothing.
        seconds: between two lines.
    """
    began = time.monotonic()
    try:
        while True:
            await asyncio.sleep(seconds)
            began = _summarise(event, figures, began)
    finally:
        _summarise(event, figures, began)


def _summarise(
    event: str, figures: Callable[[float], Mapping[str, Any] | None], began: float
) -> float:
    now = time.monotonic()
    done = figures(now - began)
    if done is not None:
        _log.info(event, seconds=round(now - began, 1), **done)
    return now
