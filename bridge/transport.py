"""What `websockets` leaves open at the edge of a connection: who floods, who is told, who is not answered."""

from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode
from websockets.protocol import State

from bridge import protocols
from bridge.errors import ErrorCode, Refused
from bridge.refusals import error_event

#: TCP connections beyond the limit of WebSockets: handshakes, HTTP requests, clients that are turned away.
HEADROOM: Final = 128

_MOST_UNREAD_BYTES: Final = 1024 * 1024
_BODY_METHODS: Final = (b"POST ", b"PUT ", b"PATCH ", b"DELETE ")


def connection_class(
    most_open: int, refuse_method: Callable[[str], bytes]
) -> type[ServerConnection]:
    """Return the class of a server's connections.

    Args:
        most_open: TCP connections of this process; what comes beyond is cut off at once.
        refuse_method: gives the whole answer to a method that may bring a body.
    """
    open_connections = 0

    class BridgeConnection(ServerConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            fail = self.protocol.fail

            def tell_and_fail(code: CloseCode | int, reason: str = "") -> None:
                # The parser closes with 1009 on its own; the client shall have the event, too.
                if code == CloseCode.MESSAGE_TOO_BIG and self.protocol.state is State.OPEN:
                    self.protocol.send_text(_too_large(reason))
                fail(code, reason)

            self.protocol.fail = tell_and_fail  # type: ignore[method-assign]  # it has no hook

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
            if self.request is None and data.startswith(_BODY_METHODS):
                # The parser would end a request with a body without an answer.
                self.transport.write(refuse_method(data.partition(b" ")[0].decode()))
                self.transport.close()
                return
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
