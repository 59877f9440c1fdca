"""What `websockets` leaves open at the edge of a connection: who floods, who is told, who is not answered."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from bridge import protocols
from bridge.acceptor import Acceptor
from bridge.errors import ErrorCode, Refused
from bridge.refusals import error_event
from bridge.request_end import RequestEnd

#: TCP connections beyond the limit of WebSockets: handshakes, HTTP requests, clients that are turned away.
HEADROOM: Final = 128
#: Likewise of one address, beyond its limit of WebSockets.
ADDRESS_HEADROOM: Final = 16

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
    answered: Callable[[], None]  # is called once a request was
    began = b""  # the first bytes of the request

    def reject(self, status: StatusLike, text: str) -> Response:
        return self.refusals.refused(status, text)

    def send_response(self, response: Response) -> None:
        super().send_response(response)
        self.answered()

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


class BridgeConnection(ServerConnection):
    """The library's connection, let in by an acceptor.

    Attributes:
        acceptor: lets it in.
        refusals: what is answered in place of the library.
    """

    acceptor: ClassVar[Acceptor]
    refusals: ClassVar[Refusals]
    protocol: _BridgeProtocol

    def __init__(self, protocol: ServerProtocol, *arguments: Any, **options: Any) -> None:
        # The library makes it, and takes no class for it.
        protocol.__class__ = _BridgeProtocol
        assert isinstance(protocol, _BridgeProtocol)
        protocol.refusals = self.refusals
        protocol.answered = self._on_answered
        super().__init__(protocol, *arguments, **options)
        self._leave: Callable[[], None] | None = None  # while it is counted
        self._begun = self._lost = False
        self._request_end: Final = RequestEnd()
        # What came over TLS before this knew that it may begin, or after the request and before it was answered:
        # the library would take that for a WebSocket's, and fail. None once the answer is under way.
        self._early: list[bytes] | None = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be let in, and shake hands over TLS where that is spoken; only then does the library know of it."""
        assert isinstance(transport, asyncio.Transport)
        self._leave = self.acceptor.admit(transport)
        if self._leave is None:
            transport.abort()
        elif self.acceptor.tls is None:
            self._begin(transport)
        else:
            self.acceptor.shake_hands(transport, self, self._begin)

    def _begin(self, transport: asyncio.Transport | None) -> None:
        if transport is None or self._lost:
            self._end()
            return
        self._begun = True
        super().connection_made(transport)
        self._read_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be counted no more."""
        self._lost = True
        self._end()
        if self._begun:
            super().connection_lost(exc)

    def _end(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def eof_received(self) -> None:
        """Pass it on, once the library knows of the connection."""
        if self._begun:
            super().eof_received()

    def data_received(self, data: bytes) -> None:
        """Pass it on; keep the beginning, and an eye on what is not read."""
        if self._early is not None:
            self._early.append(data)
            self._read_request()
            return
        super().data_received(data)
        # Pongs are written without regard to whether they are read. This much is left over by
        # nobody but a client that floods with pings, or sends and never reads.
        if self.transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self.transport.abort()

    def _read_request(self) -> None:
        """Hand over what came, up to the end of the request; read no more before that is answered."""
        while self._begun and self._early and self.request is None:
            data, rest = self._request_end.split(self._early.pop(0))
            if rest:
                self._early.insert(0, rest)
            self.protocol.began = (self.protocol.began + data)[:_METHOD_BYTES]
            super().data_received(data)
        if self._begun and self.request is not None:
            self.transport.pause_reading()

    def _on_answered(self) -> None:
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take what came since the request."""
        early, self._early = self._early, None
        if self._lost:
            return
        self.transport.resume_reading()
        for data in early or ():
            self.data_received(data)


def connection_class(acceptor: Acceptor, refusals: Refusals) -> type[ServerConnection]:
    """Return the class of a server's connections.

    Args:
        acceptor: lets them in.
        refusals: what is answered in place of the library.
    """
    attributes = {"acceptor": acceptor, "refusals": refusals}
    return type(BridgeConnection.__name__, (BridgeConnection,), attributes)


def _too_large(reason: str) -> bytes:
    refused = Refused(
        ErrorCode.FRAME_TOO_LARGE,
        "the message is larger than MAX_WEBSOCKET_MESSAGE_BYTES allows, so the connection ends; send a smaller "
        "picture, or compress it more",
        reason,
    )
    return protocols.event_message(error_event(refused)).data
