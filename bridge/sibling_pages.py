"""The Prometheus pages of all workers: whichever a scrape reaches asks the others.

Each worker gives its own page to whoever connects to its socket. The sockets are made by the process that watches the
workers, so that each knows the others', and keeps its own when it is started again. They have no files.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bridge.merged_page import merged

#: Seconds that a worker may take; one that takes longer is left out.
_PATIENCE: Final = 1.0
#: What a page ends with; where it is missing, its worker ended while it gave it. A comment to who reads the page.
_END: Final = b"# EOF\n"
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of Linux: process, user, group


class SiblingPages:
    """The page of one worker and those of the others; used in this order: `listen`, `close`."""

    def __init__(
        self, worker: int, descriptors: Sequence[int], own: Callable[[], Awaitable[bytes]]
    ) -> None:
        """Make it.

        Args:
            worker: this one's number, from 1.
            descriptors: of the sockets of all, in the order of their numbers; see `sharing`.
            own: gives this one's page.
        """
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        self._own: Final = own
        self._worker: Final = worker
        self._names: Final = {
            number: each.getsockname() for number, each in enumerate(sockets, start=1)
        }
        self._socket: Final = sockets.pop(worker - 1)
        for each in sockets:
            each.close()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Begin to give this worker's page to the others."""
        self._server = await asyncio.start_unix_server(self._give, sock=self._socket)

    def close(self) -> None:
        """Give it no more; may be called twice."""
        if self._server is not None:
            self._server.close()

    async def page(self) -> bytes:
        """Return the figures of all workers."""
        pages = await asyncio.gather(*(self._ask(worker) for worker in self._names))
        return await asyncio.to_thread(merged, dict(zip(self._names, pages, strict=True)))

    async def _ask(self, worker: int) -> str | None:
        """Return a worker's page; None where it gives none in time, or not all of it."""
        if worker == self._worker:
            return (await self._own()).decode()
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._names[worker])
                try:
                    page = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
        return page.decode() if page.endswith(_END) else None

    async def _give(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        try:
            if _user_of(writer) == os.getuid():
                writer.write(await self._own() + _END)
        finally:
            writer.close()


def _user_of(writer: asyncio.StreamWriter) -> int:
    """Return who is at the other end: names without a file have no permissions."""
    peer = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])
