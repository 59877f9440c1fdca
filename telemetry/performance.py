"""What a process did, once a minute, in one line of its log; none while there was nothing to do."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

_log = structlog.get_logger()

SECONDS: Final = 60.0


async def summarise(
    event: str, figures: Callable[[], Mapping[str, Any] | None], *, seconds: float = SECONDS
) -> None:
    """Log figures until cancelled, and then once more.

    Args:
        event: its name.
        figures: returns what was done since it was called before, or since this began; None: nothing.
        seconds: between two lines.
    """
    began = time.monotonic()

    def tell() -> None:
        nonlocal began
        before, began = began, time.monotonic()
        done = figures()
        if done is not None:
            _log.info(event, seconds=round(began - before, 1), **done)

    try:
        while True:
            await asyncio.sleep(seconds)
            tell()
    finally:
        tell()
