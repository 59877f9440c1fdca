"""Where a supervisor hears that a child serves: the other end of `telemetry.readiness`."""

import asyncio
import socket
from typing import Final, Self

from telemetry.readiness import READY

_MOST_BYTES: Final = 4096


class ReadySocket:
    """Where a child says that it is ready; its name is no file, so it leaves nothing behind.

    Attributes:
        name: for the child's NOTIFY_SOCKET.
        ready: whether it has said so.
    """

    def __init__(self) -> None:
        """Open it."""
        self.ready: Final = asyncio.Event()
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # The kernel finds a name that is free (unix(7), autobind). Containers may share a network, and with that the
        # names, and in each of them this may be process 1.
        self._socket.bind("")
        self.name: Final = f"@{self._socket.getsockname()[1:].decode()}"

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        if READY in self._socket.recv(_MOST_BYTES).split(b"\n"):
            self.ready.set()
