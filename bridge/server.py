"""The port: it lets clients in, up to its limits, and goes down in good order."""

import asyncio
import ipaddress
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from bridge import access, descriptions, json_text, ports, protocols, transport
from bridge.acceptor import Acceptor, Tls, client_of_peer
from bridge.connection_limiter import ConnectionLimiter
from bridge.connections import Slots, new_slots_file
from bridge.detectors import Detectors
from bridge.errors import ErrorCode, Refused
from bridge.events import Authenticate
from bridge.http import HttpSide, header, path_of
from bridge.metrics import observe_connections, observe_detectors, observe_stats
from bridge.refusals import error_event
from bridge.session import GOES_DOWN, Session
from bridge.settings import Settings
from bridge.sharing import Shared
from bridge.sibling_pages import SiblingPages
from bridge.stats import (
    ORIGIN_NOT_ALLOWED,
    TCP_CONNECTIONS,
    Stats,
    close_code,
    difference,
)
from bridge.timings import Timings
from telemetry.event_loop import watch_lag
from telemetry.metrics import Metrics
from telemetry.page import Page
from telemetry.performance import summarise

if TYPE_CHECKING:  # imported where frames are traced
    from telemetry.tracer import Tracer

_log = structlog.get_logger()

_ALERT_SECONDS: Final = 10.0  # between two reports that the limit was reached
_CLOSE_SECONDS: Final = 5.0  # for a client to answer a close
_BACKLOG: Final = (
    512  # connections that the kernel holds until they are accepted; a page reloads in many tabs
)
_KIB: Final = 1024


class BridgeServer:
    """The bridge from its open port to its last close; used in this order: `listen`, `drain`."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        shared: Shared | None = None,
        *,
        tracer: "Tracer | None" = None,
    ) -> None:
        """Make it.

        Args:
            settings: as read.
            metrics: export what this process counts; whoever made them closes them.
            shared: with the other workers; None for a process on its own.
            tracer: takes the spans of frames, likewise; None: nothing is traced.

        Raises:
            ConfigurationError: a file of tokens cannot be read.
        """
        self._settings: Final = settings
        self._tracer: Final = tracer
        self._shared: Final = shared is not None
        self._slots: Final = Slots(
            new_slots_file() if shared is None else shared.slots_file,
            settings.max_concurrent_connections,
            per_address=settings.max_connections_per_address,
        )
        self._detectors: Final = Detectors(settings)
        self._tokens: Final = (
            access.Tokens(access.read_tokens(settings.auth_tokens_file, "AUTH_TOKENS_FILE"))
            if settings.auth_tokens_file is not None
            else None
        )
        tls = settings.server_tls()
        connection_limiter = _connection_limiter(settings)
        self._acceptor: Final = Acceptor(
            connection_limiter,
            None if tls is None else Tls(tls, settings.handshake_timeout, _CLOSE_SECONDS),
            self._cut_off,
        )
        page = Page(partial(asyncio.to_thread, metrics.page))
        self._sibling_pages: Final = shared and SiblingPages(
            shared.worker, shared.page_sockets, page.text
        )
        if self._sibling_pages is not None:
            page = Page(self._sibling_pages.page)
        self._http: Final = HttpSide(
            self._detectors,
            self._slots.taken,
            page.text,
            descriptions.served(),
            origins=settings.origins,
            tokens=self._tokens,
            tls=tls is not None,
        )
        self._sessions: Final[set[Session]] = set()
        self._unauthenticated: Final[set[asyncio.Timeout]] = set()  # whose first message is awaited
        self._server: Server | None = None
        self._draining = False
        self._reporting: asyncio.Task[None] | None = None
        self.stats: Final = Stats()
        self._told = self.stats.snapshot()  # of which the log has the differences
        self._timings: Final = Timings(metrics.meter)
        self._watches: list[asyncio.Task[None]] = []
        observe_stats(metrics.meter, self.stats)
        observe_connections(metrics.meter, self._sessions, lambda: connection_limiter.count)
        observe_detectors(metrics.meter, self._detectors.links)

    async def listen(self) -> int:
        """Open the port; return its number.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        settings = self._settings
        if self._tokens is None and not _loopback(settings.host):
            _log.warning(
                "auth.open",
                message=f"anyone who reaches {settings.host} may connect; set AUTH_TOKENS_FILE to ask for tokens",
            )
        self._detectors.start()
        try:
            self._server = await serve(
                self._handle,
                ports.hosts(settings.host),  # type: ignore[arg-type] # asyncio takes several
                ports.to_listen_on(settings.host, settings.port),
                subprotocols=[Subprotocol(name) for name in protocols.PROTOCOLS],
                select_subprotocol=_select,
                compression="deflate" if settings.websocket_compression else None,
                process_request=self._on_request,
                server_header=None,
                open_timeout=settings.handshake_timeout,
                ping_interval=settings.ping_interval,
                ping_timeout=settings.ping_timeout,
                close_timeout=_CLOSE_SECONDS,
                max_size=settings.max_websocket_message_bytes,
                # Frames of the WebSocket protocol that may wait to be read. The session reads at once, and
                # keeps what it wants to keep.
                max_queue=(2, 0),
                write_limit=64 * _KIB,
                create_connection=transport.connection_class(self._acceptor, self._http),
                backlog=_BACKLOG,
                reuse_port=self._shared or None,
            )
        except OSError as error:
            await self._detectors.close()
            raise ports.cannot_listen(settings.host, settings.port, error) from error
        if self._sibling_pages is not None:
            await self._sibling_pages.listen()
        self._watches = [
            asyncio.create_task(summarise("bridge.performance", self._figures)),
            asyncio.create_task(watch_lag(self._timings.lag)),
        ]
        return int(self._server.sockets[0].getsockname()[1])

    async def drain(self) -> None:
        """Go down in good order; may be called twice.

        1. The port is closed; handshakes under way are refused with 503.
        2. Sessions read no more, answer what they have read, and close with 1001; DRAIN_TIMEOUT cuts that off.
        3. The detectors' channels are closed.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        self._draining = True
        server.close(close_connections=False)
        self._acceptor.close()
        for session in self._sessions:
            session.drain()
        for patience in self._unauthenticated:
            if not patience.expired():
                patience.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._settings.drain_timeout):
                await server.wait_closed()
        except TimeoutError:
            _log.warning(
                "bridge.cut_off",
                connections=self._acceptor.cut_off(),
                message="DRAIN_TIMEOUT was over before these were closed; raise it, or look for clients that do not read",
            )
            await server.wait_closed()
        if self._reporting is not None:
            self._reporting.cancel()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        if self._sibling_pages is not None:
            self._sibling_pages.close()
        await self._detectors.close()

    def _figures(self) -> dict[str, Any] | None:
        before, self._told = self._told, self.stats.snapshot()
        return difference(before, self._told)

    def _note_refused(self, reason: str, message: str) -> None:
        self.stats.refused[reason] += 1
        _log.warning("connection.refused", reason=reason, message=message)

    def _cut_off(self) -> None:
        self._note_refused(
            TCP_CONNECTIONS,
            f"{transport.HEADROOM} TCP connections more than MAX_CONCURRENT_CONNECTIONS are open, or of one client "
            f"{transport.ADDRESS_HEADROOM} more than MAX_CONNECTIONS_PER_ADDRESS; what comes beyond is cut off. Raise "
            "these, or look for who connects and says nothing",
        )

    async def _on_request(self, connection: ServerConnection, request: Request) -> Response | None:
        del connection
        response = await self._http.respond(request)
        match None if response is None else response.status_code:
            case HTTPStatus.FORBIDDEN:
                origin = header(request, "Origin")
                self._note_refused(
                    ORIGIN_NOT_ALLOWED,
                    f"pages of {origin} may not connect; add that to ALLOWED_ORIGINS, if they are yours",
                )
            case HTTPStatus.UNAUTHORIZED:
                self._note_refused(
                    ErrorCode.UNAUTHORIZED,
                    f"{path_of(request.path)} was asked for without a token of AUTH_TOKENS_FILE; whoever may have it "
                    "sends the header `Authorization: Bearer TOKEN`",
                )
        return response

    async def _handle(self, websocket: ServerConnection) -> None:
        """Serve a client that has shaken hands.

        It needs no place before it has shown its token: strangers would hold them all.
        """
        try:
            await self._let_in(websocket)
            slot = self._take_slot(client_of_peer(websocket.transport))
            try:
                await self._serve(websocket)
            finally:
                self._slots.give_back(slot)
        except Refused as refused:
            self._note_refused(refused.code, str(refused))
            full = refused.code is ErrorCode.CONNECTION_LIMIT
            code = CloseCode.TRY_AGAIN_LATER if full else CloseCode.POLICY_VIOLATION
            await _turn_away(websocket, refused, code)
        except ConnectionClosed:
            pass
        finally:
            self.stats.closed[close_code(websocket.close_code)] += 1

    async def _serve(self, websocket: ServerConnection) -> None:
        session = Session(
            websocket,
            protocols.PROTOCOLS[websocket.subprotocol or protocols.JSON],
            self._detectors,
            self._settings,
            stats=self.stats,
            timings=self._timings,
            tracer=self._tracer,
        )
        self.stats.connections += 1
        self._sessions.add(session)
        if self._draining:
            session.drain()
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    def _take_slot(self, address: str) -> int:
        """Return a place for a connection.

        Raises:
            Refused: CONNECTION_LIMIT.
        """
        if self._slots.address_is_full(address):
            raise Refused(
                ErrorCode.CONNECTION_LIMIT,
                f"{self._settings.max_connections_per_address} connections of your address are open, as many as "
                "MAX_CONNECTIONS_PER_ADDRESS allows; close one, or try again later",
            )
        slot = self._slots.take(address)
        if slot is None:
            refused = Refused(
                ErrorCode.CONNECTION_LIMIT,
                f"{self._settings.max_concurrent_connections} connections are open, as many as "
                "MAX_CONCURRENT_CONNECTIONS allows; try again later",
            )
            self._report(str(refused))
            raise refused
        return slot

    async def _let_in(self, websocket: ServerConnection) -> None:
        """Ask for a token, where one is needed.

        Raises:
            Refused: UNAUTHORIZED.
        """
        if self._tokens is None:
            return
        assert websocket.request is not None
        token = access.token_of_handshake(
            header(websocket.request, "Authorization"), _offered(websocket.request)
        )
        if token is None:
            token = await self._first_message(websocket)
        if not self._tokens.accept(token):
            raise Refused(ErrorCode.UNAUTHORIZED, "the token is not known to this service")

    async def _first_message(self, websocket: ServerConnection) -> str:
        limit = self._settings.handshake_timeout
        needed = (
            "a token is needed: offer the subprotocol bearer.<token in base64url>, or send "
            '{"event": "authenticate", "data": {"token": "..."}} as the first message'
        )
        try:
            async with asyncio.timeout(0 if self._draining else limit) as patience:
                self._unauthenticated.add(patience)
                message = await websocket.recv()
        except TimeoutError:
            if self._draining:
                await websocket.close(CloseCode.GOING_AWAY, GOES_DOWN)
                raise websocket.close_exc from None
            raise Refused(
                ErrorCode.UNAUTHORIZED, f"{needed}; none came within {limit:g} s"
            ) from None
        finally:
            self._unauthenticated.discard(patience)
        try:
            request = json_text.decode_request(message)
        except Refused as refused:
            raise Refused(ErrorCode.UNAUTHORIZED, needed, str(refused)) from refused
        if not isinstance(request, Authenticate):
            raise Refused(ErrorCode.UNAUTHORIZED, needed)
        return request.data.token

    def _report(self, message: str) -> None:
        """Have the alert `connection_limit` raised, not more often than now and then."""
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report_and_rest(message))

    async def _report_and_rest(self, message: str) -> None:
        time = Timestamp()
        time.GetCurrentTime()
        alert = pb.Alert(
            type=pb.ALERT_TYPE_CONNECTION_LIMIT,
            level=pb.ALERT_LEVEL_WARNING,
            message=message,
            time=time,
        )
        await self._detectors.report_alert(alert)
        await asyncio.sleep(_ALERT_SECONDS)


async def _turn_away(websocket: ServerConnection, refused: Refused, code: CloseCode) -> None:
    event = protocols.event_message(error_event(refused))
    try:
        await websocket.send(event.data, text=True)
        await websocket.close(code, refused.code)
    except ConnectionClosed:
        pass


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the first subprotocol offered that is known; none means JSON, as the prototype spoke it."""
    return next((name for name in offered if name in protocols.PROTOCOLS), None)


def _offered(request: Request) -> list[str]:
    return [
        name.strip()
        for value in request.headers.get_all("Sec-WebSocket-Protocol")
        for name in value.split(",")
    ]


def _connection_limiter(settings: Settings) -> ConnectionLimiter:
    per_address = settings.max_connections_per_address
    return ConnectionLimiter(
        settings.max_concurrent_connections + transport.HEADROOM,
        per_address + transport.ADDRESS_HEADROOM if per_address else 0,
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
