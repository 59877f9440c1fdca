"""Lets TCP connections in, as many as may be, and shakes hands over TLS where that is spoken."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from bridge.clients import client_of
from bridge.connection_limiter import ConnectionLimiter


class Tls(NamedTuple):
    """How a port speaks TLS.

    Attributes:
        context: with the certificate.
        handshake_timeout: seconds for a handshake.
        shutdown_timeout: seconds to say good-bye.
    """

    context: ssl.SSLContext
    handshake_timeout: float
    shutdown_timeout: float


class Acceptor:
    """Stands at a port that was opened without TLS.

    `asyncio` can do TLS itself, and then tells of a connection once its handshake is over: too late to count those
    that never end it. So the acceptor counts each connection first, and changes it over then.

    Attributes:
        tls: how the port speaks TLS; None for plain text.
    """

    def __init__(
        self, connection_limiter: ConnectionLimiter, tls: Tls | None, refused: Callable[[], None]
    ) -> None:
        """Make it.

        Args:
            connection_limiter: counts.
            tls: None for plain text.
            refused: is called for each connection that may not stay.
        """
        self._connection_limiter: Final = connection_limiter
        self.tls: Final = tls
        self._refused: Final = refused
        self._handshakes: Final[set[asyncio.Task[asyncio.Transport | None]]] = set()
        self._inside: Final[set[asyncio.Transport]] = set()  # as they were accepted

    def admit(self, transport: asyncio.Transport) -> Callable[[], None] | None:
        """Count a connection; return what is to be called once it is over, None where it may not stay."""
        client = client_of_peer(transport)
        if not self._connection_limiter.enter(client):
            self._refused()
            return None
        self._inside.add(transport)

        def leave() -> None:
            self._inside.remove(transport)
            self._connection_limiter.leave(client)

        return leave

    def shake_hands(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        done: Callable[[asyncio.Transport | None], None],
    ) -> None:
        """Change a connection over to TLS.

        Args:
            transport: as it was accepted.
            protocol: is given what comes over TLS, which may be before `done` was called.
            done: is given the transport to be used from then on; None where the handshake failed.
        """

        def ended(task: asyncio.Task[asyncio.Transport | None]) -> None:
            self._handshakes.discard(task)
            secured = None
            try:
                if not task.cancelled():
                    secured = task.result()
            finally:
                if secured is None:
                    transport.abort()  # a task that is cancelled before it began has closed nothing
                done(secured)

        task = asyncio.get_running_loop().create_task(self._shake_hands(transport, protocol))
        self._handshakes.add(task)
        task.add_done_callback(ended)

    def close(self) -> None:
        """Give up the handshakes that are under way."""
        for handshake in self._handshakes:
            handshake.cancel()

    def cut_off(self) -> int:
        """End all connections that are open, whatever they are at; return how many those were."""
        for transport in self._inside:
            transport.abort()
        return len(self._inside)

    async def _shake_hands(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol
    ) -> asyncio.Transport | None:
        """Return the transport that speaks TLS; None where the handshake failed."""
        assert self.tls is not None
        try:
            return await asyncio.get_running_loop().start_tls(
                transport,
                protocol,
                self.tls.context,
                server_side=True,
                ssl_handshake_timeout=self.tls.handshake_timeout,
                ssl_shutdown_timeout=self.tls.shutdown_timeout,
            )
        except OSError:
            return None  # it was no TLS, or the network's fault, or the time was up: each the client's affair


def client_of_peer(transport: asyncio.BaseTransport) -> str:
    """Return whose a connection is; see `client_of`."""
    peer = transport.get_extra_info("peername")
    return client_of(str(peer[0])) if peer else ""
