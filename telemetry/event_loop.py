"""How late the event loop runs what is due."""

import asyncio
from collections.abc import Callable
from typing import Final

INTERVAL_SECONDS: Final = 0.05  # between two looks


async def watch_lag(note: Callable[[float], None]) -> None:
    """Measure until cancelled.

    Args:
        note: is given each lag, in seconds.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        note(max(loop.time() - due, 0.0))
