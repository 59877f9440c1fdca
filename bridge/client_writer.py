"""Messages to one client, one at a time, for as long as it reads them."""

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.server import ServerConnection

from bridge.frame_queue import Message
from bridge.stats import Stats


class ClientWriter:
    """Writes to a WebSocket.

    Attributes:
        turn: is held by whoever writes, over all that is to stay together.
    """

    def __init__(
        self,
        websocket: ServerConnection,
        stats: Stats,
        *,
        timeout: float,
        timed_out: Callable[[], None],
    ) -> None:
        """Make it.

        Args:
            websocket: of the client.
            stats: counts what was written.
            timeout: seconds that the client has to take a message.
            timed_out: is called where it has not; the connection is cut off then.
        """
        self._websocket: Final = websocket
        self._stats: Final = stats
        self._timeout: Final = timeout
        self._timed_out: Final = timed_out
        self.turn: Final = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether something is being written: a client that does not read takes long."""
        return self.turn.locked()

    async def send(self, message: Message) -> None:
        """Write a message once it is its turn.

        Raises:
            ConnectionClosed: nobody takes it.
        """
        async with self.turn:
            await self.write(message)

    async def write(self, message: Message) -> None:
        """Write a message; the caller holds `turn`.

        Raises:
            ConnectionClosed: nobody takes it.
        """
        giving_up = asyncio.get_running_loop().call_later(self._timeout, self._give_up)
        try:
            await self._websocket.send(message.data, text=message.text)
            self._stats.messages_out += 1
        finally:
            giving_up.cancel()

    def _give_up(self) -> None:
        """End the connection; what is being written ends with that.

        There is no telling the client why: a close frame would wait behind what it does not read.
        """
        self._timed_out()
        self._websocket.transport.abort()
