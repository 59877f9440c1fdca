"""The Prometheus page, at a bounded price: however many ask, it is made once a second, and once at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

FRESH_SECONDS: Final = 1.0


class Page:
    """A text that many ask for; for the event loop's thread."""

    def __init__(self, make: Callable[[], Awaitable[bytes]]) -> None:
        """Make it.

        Args:
            make: gives the text as it is now.
        """
        self._make: Final = make
        self._making: asyncio.Task[bytes] | None = None
        self._stale_at = 0.0

    async def text(self) -> bytes:
        """Return the text, at most a second old; who asks while it is made gets the same."""
        loop = asyncio.get_running_loop()
        if self._making is None or (self._making.done() and loop.time() >= self._stale_at):
            self._making = asyncio.create_task(self._made())
        return await asyncio.shield(self._making)  # whoever leaves takes nothing from the others

    async def _made(self) -> bytes:
        try:
            return await self._make()
        finally:
            self._stale_at = asyncio.get_running_loop().time() + FRESH_SECONDS
