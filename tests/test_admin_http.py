"""The admin port: what answers there, and what a flood of it costs."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web
from crowd.detector.v1 import detector_pb2 as pb

from detector_service import admin_http
from detector_service.admin_http import AdminHttp
from detector_service.errors import ConfigurationError
from tests.servers import connected, service_process, serving


async def echo(request: web.BaseRequest) -> web.Response:
    """Answer with the query."""
    return web.Response(text=request.query_string)


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Open an admin port with one path; give its number."""
    admin = AdminHttp({"/echo": echo})
    try:
        yield await admin.listen(host, 0)
    finally:
        await admin.close()


async def ask(port: int, path: str = "/echo", method: str = "GET") -> tuple[int, str]:
    """Return status and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def cut_off(reader: asyncio.StreamReader) -> bool:
    """Wait until a connection is over; return whether nothing came."""
    async with asyncio.timeout(30):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_a_path_is_answered_by_its_endpoint() -> None:
    """By GET and HEAD; whoever asks for something else is told what there is."""
    async with listening() as port:
        assert await ask(port, "/echo?a=1") == (200, "a=1")
        assert await ask(port, "/echo?a=1", "HEAD") == (200, "")
        assert await ask(port, "/") == (404, "there is nothing at this path; there are /echo\n")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, _ = await ask(port, method=method)
            assert status == 405


@pytest.mark.parametrize("host", ["::", "localhost", "0.0.0.0"])
async def test_it_listens_where_the_service_does(host: str) -> None:
    """On all addresses of a name, and on IPv4 as well where the host is `::`."""
    async with listening(host) as port:
        assert await ask(port) == (200, "")


async def test_each_connection_is_for_one_request() -> None:
    """So nobody who keeps one open keeps a place."""
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        async with asyncio.timeout(30):
            answered = await reader.read()
        writer.close()
    assert answered.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answered


async def test_many_idle_connections_keep_nobody_out() -> None:
    """The newest are served, the oldest are cut off; who leaves at once harms nobody."""
    async with listening() as port, AsyncExitStack() as stack:
        first, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        for _ in range(2 * admin_http._MOST_CONNECTIONS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
        assert await ask(port) == (200, "")
        assert await cut_off(first)


async def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it asks."""
    monkeypatch.setattr(admin_http, "_LONGEST", 0.1)
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo HTTP/1.1\r\nHost:")
        assert await cut_off(reader)
        writer.close()


async def test_a_request_that_is_none_is_refused() -> None:
    """And the next one is served."""
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        async with asyncio.timeout(30):
            assert b" 400 " in await reader.read()
        writer.close()
        assert await ask(port) == (200, "")


async def test_a_flood_of_probes_is_answered_while_the_port_is_closed_in_the_end() -> None:
    """Every one that gets through, and those under way are cut off."""

    async def one(port: int) -> int:
        try:
            return (await ask(port))[0]
        except aiohttp.ClientError:
            return 0

    async with listening() as port:
        answers = await asyncio.gather(*(one(port) for _ in range(300)))
        assert set(answers) <= {0, 200}
        assert answers.count(200) > 0
        late = asyncio.create_task(one(port))
        await asyncio.sleep(0)
    assert await late in (0, 200)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_flood_of_probes_takes_no_client_its_answers(photo: bytes) -> None:
    """They share the event loop, and neither keeps the other out."""

    async def flood(port: int) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                await ask(port, "/health/ready")

    async with serving(admin_port=0) as running, connected(running.address) as stub:
        port = running.server.admin_port
        assert port is not None
        floods = [asyncio.create_task(flood(port)) for _ in range(20)]
        for _ in range(10):
            answer = await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
            assert answer.result.faces
        assert (await ask(port, "/health/ready"))[0] == 200
        for each in floods:
            each.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


async def test_a_port_in_use_is_named() -> None:
    """With the cure."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"ADMIN_PORT={port}: cannot listen there"):
            async with serving(load=False, admin_port=port):
                pass
        async with service_process(ADMIN_PORT=str(port)) as service:
            assert await service.ended() == 2
    (complaint,) = [line for line in service.errors.splitlines() if "ADMIN_PORT" in line]
    assert "choose another ADMIN_PORT" in complaint


async def test_a_host_that_is_not_there_is_named() -> None:
    """With the variable."""
    with pytest.raises(ConfigurationError, match=r"HOST=nowhere\.invalid, ADMIN_PORT=0"):
        await AdminHttp({}).listen("nowhere.invalid", 0)


async def test_the_service_says_that_it_lives_before_it_is_ready() -> None:
    """The event loop turns, which is all that this path says."""
    async with serving(load=False, admin_port=0) as running:
        assert running.server.admin_port is not None
        status, body = await ask(running.server.admin_port, "/health/live")
    assert (status, body) == (200, '{"status": "alive"}')


async def test_it_can_be_left_closed() -> None:
    """By a word, for 0 takes a free port and an empty variable is one that is not set."""
    async with serving(load=False, admin_port="off") as running:
        assert running.server.admin_port is None
