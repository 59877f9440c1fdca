"""The admin port: HTTP for whoever runs the service, by GET and HEAD; nothing here changes state.

It runs on the service's own event loop, so that an answer says that this turns. Whoever floods it gets no more than
a part of the loop's turns: connections are let in one at a time, only the newest of them are kept, each is
for one request, and none lives long.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from detector_service.addresses import is_anywhere, joined
from detector_service.errors import ConfigurationError

_log = structlog.get_logger()

#: What answers a path.
Endpoint: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.Response]]

_METHODS: Final = ("GET", "HEAD")
_MOST_CONNECTIONS: Final = 64
#: Seconds that a connection may take for its request and its answer together.
_LONGEST: Final = 10.0
_BACKLOG: Final = 64
#: Seconds before connections are let in again, where the process has no descriptor left for one.
_PAUSE: Final = 0.5


class AdminHttp:
    """Answers on the admin port; used in this order: `listen`, `close`."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Make it.

        Args:
            endpoints: what answers each path, on the event loop; the query is no part of a path.
        """
        self._endpoints: Final = endpoints
        self._server: Final = web.Server(self._answer, access_log=None, lingering_time=0)
        #: Of the newest connections, open or over: the connection, and the timer that ends it.
        self._newest: Final[deque[tuple[asyncio.Transport, asyncio.TimerHandle]]] = deque()
        self._accepting: list[asyncio.Task[None]] = []

    async def listen(self, host: str, port: int) -> int:
        """Open the port; return its number.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        sockets = _listening(host, port)
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets]
        port = int(sockets[0].getsockname()[1])
        _log.info("admin.listening", address=joined(host, port))
        return port

    async def close(self) -> None:
        """Close the port and every connection; may be called twice."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        while self._newest:
            self._cut_off_oldest()
        await self._server.shutdown(0)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listening)
                    transport, _ = await loop.connect_accepted_socket(self._server, connection)
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        await asyncio.sleep(_PAUSE)
                    continue  # the client has left meanwhile
                if len(self._newest) == _MOST_CONNECTIONS:
                    self._cut_off_oldest()
                self._newest.append((transport, loop.call_later(_LONGEST, transport.abort)))

    def _cut_off_oldest(self) -> None:
        transport, timer = self._newest.popleft()
        timer.cancel()
        transport.abort()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        answer = await self._answer_of_path(request)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.force_close()
        return answer

    async def _answer_of_path(self, request: web.BaseRequest) -> web.Response:
        if request.method not in _METHODS:
            allowed = ", ".join(_METHODS)
            return web.Response(
                status=405,
                text=f"{request.method} is not answered here; {allowed} are\n",
                headers={"Allow": allowed},
            )
        endpoint = self._endpoints.get(request.path)
        if endpoint is None:
            there_are = ", ".join(sorted(self._endpoints))
            return web.Response(
                status=404, text=f"there is nothing at this path; there are {there_are}\n"
            )
        return await endpoint(request)


def _listening(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host, for `::` on all of the machine's, as gRPC does.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    sockets: list[socket.socket] = []
    chosen = port
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in dict.fromkeys(addresses):
            listening = socket.create_server(
                (str(address[0]), chosen),
                family=family,
                backlog=_BACKLOG,
                dualstack_ipv6=family == socket.AF_INET6 and is_anywhere(host),
            )
            listening.setblocking(False)
            sockets.append(listening)
            chosen = int(listening.getsockname()[1])  # where any will do, the same one for all
    except OSError as error:
        for each in sockets:
            each.close()
        raise ConfigurationError(
            f"HOST={host}, ADMIN_PORT={port}: cannot listen there ({error.strerror}); end what uses it, "
            "another detector perhaps, or choose another ADMIN_PORT: 0 takes a free one, `off` opens none"
        ) from error
    return sockets
