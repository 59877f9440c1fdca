"""What `websockets` leaves open at the edge of a connection: who floods, who is told, who is not answered."""

from typing import Any, Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from bridge import protocols
from bridge.errors import ErrorCode, Refused
from bridge.refusals import error_event

#: TCP connections beyond the limit of WebSockets: handshakes, HTTP requests, clients that are turned away.
HEADROOM: Final = 128

_MOST_UNREAD_BYTES: Final = 1024 * 1024
_METHOD_BYTES: Final = 16  # more than the longest method has


class Refusals(Protocol):
    """What is answered in place of the WebSocket library."""

    def refused(self, status: StatusLike, text: str) -> Response:
        """Return the answer to a handshake that the library refuses."""

    def unreadable(self, began: bytes, cause: BaseException | None) -> Response:
        """Return the answer to a request that cannot be read."""


class _BridgeProtocol(ServerProtocol):
    """The library's protocol, with a word for everyone who is refused."""

    refusals: Refusals
    began = b""  # the first bytes of the request

    def reject(self, status: StatusLike, text: str) -> Response:
        return self.refusals.refused(status, text)

    def send_eof(self) -> None:
        # The parser ends the connection without an answer.
        if self.state is State.CONNECTING and isinstance(self.handshake_exc, InvalidMessage):
            # Who came only to see whether the port is open gets none either.
            if self.began:
                cause = self.handshake_exc.__cause__
                self.writes.append(self.refusals.unreadable(self.began, cause).serialize())
            self.began = b""
        super().send_eof()

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        # The parser closes with 1009 on its own; the client shall have the event, too.
        if code == CloseCode.MESSAGE_TOO_BIG and self.state is State.OPEN:
            self.send_text(_too_large(reason))
        super().fail(code, reason)


def connection_class(most_open: int, refusals: Refusals) -> type[ServerConnection]:
    """Return the class of a server's connections.

    Args:
        most_open: TCP connections of this process; what comes beyond is cut off at once.
        refusals: what is answered in place of the library.
    """
    open_connections = 0

    class BridgeConnection(ServerConnection):
        def __init__(self, protocol: ServerProtocol, *arguments: Any, **options: Any) -> None:
            # The library makes it, and takes no class for it.
            protocol.__class__ = _BridgeProtocol
            assert isinstance(protocol, _BridgeProtocol)
            protocol.refusals = refusals
            self.protocol: _BridgeProtocol
            super().__init__(protocol, *arguments, **options)

        def connection_made(self, transport: Any) -> None:
            nonlocal open_connections
            open_connections += 1
            super().connection_made(transport)
            if open_connections > most_open:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal open_connections
            open_connections -= 1
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.request is None:
                self.protocol.began = (self.protocol.began + data)[:_METHOD_BYTES]
            super().data_received(data)
            # Pongs are written without regard to whether they are read. This much is left over by
            # nobody but a client that floods with pings, or sends and never reads.
            if self.transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
                self.transport.abort()

    return BridgeConnection


def _too_large(reason: str) -> bytes:
    refused = Refused(
        ErrorCode.FRAME_TOO_LARGE,
        "the message is larger than MAX_WEBSOCKET_MESSAGE_BYTES allows, so the connection ends; send a smaller "
        "picture, or compress it more",
        reason,
    )
    return protocols.event_message(error_event(refused)).data
