"""TCP connections before they are WebSockets: each is counted, limited in time, and gone with its end."""

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from tests.bridge.bridges import Authority, client, fake_and_bridge
from tests.bridge.raw_sockets import (
    HANDSHAKE,
    connections,
    ended,
    tcp,
)
from tests.servers import until


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_handshake_that_is_not_finished_is_given_up(
    tls: bool, authority: Authority
) -> None:
    """A slow loris holds a connection for HANDSHAKE_TIMEOUT, and no place."""
    settings = authority.settings if tls else {}
    async with fake_and_bridge(handshake_timeout=0.3, **settings) as (_, bridge):
        sock = tcp(bridge)
        began = b"\x16\x03\x01\x02\x00" if tls else HANDSHAKE[:40]
        await asyncio.get_running_loop().sock_sendall(sock, began)
        assert bridge.server._slots.taken() == 0
        await ended(asyncio.get_running_loop(), sock)
        await until(lambda: connections(bridge) == 0)
        sock.close()


async def test_what_is_no_tls_ends_its_connection(authority: Authority) -> None:
    """Whatever it is and wherever it breaks off; nothing is left of it."""
    async with fake_and_bridge(**authority.settings) as (_, bridge):
        for data in (HANDSHAKE, b"\x16\x03\x01\x00\x05hello", b"\x16", b""):
            sock = tcp(bridge)
            await until(lambda: connections(bridge) == 1)
            await asyncio.get_running_loop().sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)
            await ended(asyncio.get_running_loop(), sock)
            sock.close()
            await until(lambda: connections(bridge) == 0)
        async with client(f"wss://127.0.0.1:{bridge.port}/ws", ssl=authority.trust) as browser:
            await browser.send_frame()
            await browser.result()


async def test_a_request_in_one_piece_with_the_end_of_the_tls_handshake(
    authority: Authority,
) -> None:
    """It comes before the bridge knows that hands are shaken, and is not lost."""
    loop = asyncio.get_running_loop()
    async with fake_and_bridge(**authority.settings) as (_, bridge):
        sock = tcp(bridge)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = authority.trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        async with asyncio.timeout(30):
            while True:
                try:
                    secured.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await loop.sock_sendall(sock, outgoing.read())
                    incoming.write(await loop.sock_recv(sock, 65536))
            secured.write(HANDSHAKE)
            await loop.sock_sendall(sock, outgoing.read())
            answer = b""
            while b"server_time" not in answer:
                incoming.write(await loop.sock_recv(sock, 65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    while True:
                        answer += secured.read()
        sock.close()


async def test_a_drain_does_not_wait_for_tls_handshakes(authority: Authority) -> None:
    """They are given up at once."""
    async with fake_and_bridge(handshake_timeout=600, **authority.settings) as (_, bridge):
        socks = [tcp(bridge) for _ in range(3)]
        await until(lambda: connections(bridge) == 3)
        async with asyncio.timeout(20):
            await bridge.server.drain()
            for sock in socks:
                await ended(asyncio.get_running_loop(), sock)
                sock.close()
        assert connections(bridge) == 0


async def test_a_drain_gives_up_a_tls_handshake_that_is_about_to_begin(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is accepted, and no byte of it read."""
    async with fake_and_bridge(handshake_timeout=600, **authority.settings) as (_, bridge):
        acceptor = bridge.server._acceptor
        shake_hands = acceptor.shake_hands

        def shake_hands_and_close(*arguments: Any) -> None:
            shake_hands(*arguments)
            acceptor.close()

        monkeypatch.setattr(acceptor, "shake_hands", shake_hands_and_close)
        sock = tcp(bridge)
        await ended(asyncio.get_running_loop(), sock)
        sock.close()
        assert connections(bridge) == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"max_concurrent_connections": 1}, 129),
        ({"max_connections_per_address": 1}, 17),
    ],
    ids=["all", "one address"],
)
async def test_too_many_tcp_connections_are_cut_off(
    settings: dict[str, int], most: int, tls: bool, authority: Authority
) -> None:
    """Those that never shake hands, over TLS or as WebSockets, cannot use up the process's files."""
    speaks = authority.settings if tls else {}
    async with fake_and_bridge(handshake_timeout=600, **settings, **speaks) as (_, bridge):
        socks = [tcp(bridge) for _ in range(most + 11)]
        loop = asyncio.get_running_loop()
        ends = [asyncio.create_task(ended(loop, sock)) for sock in socks]
        await until(lambda: sum(task.done() for task in ends) >= 11)
        assert connections(bridge) == most
        assert sum(task.done() for task in ends) == 11
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for sock in socks:
            sock.close()
        await until(lambda: connections(bridge) == 0)


@pytest.mark.parametrize("begun", [b"", b"GET /health"], ids=["silent", "half a request"])
async def test_a_drain_is_cut_off_for_who_has_not_shaken_hands(begun: bytes) -> None:
    """A browser opens connections that it may never use."""
    async with fake_and_bridge(drain_timeout=0.1, handshake_timeout=600) as (_, bridge):
        sock = tcp(bridge)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(sock, begun)
        await until(lambda: connections(bridge) == 1)
        async with asyncio.timeout(20):
            await bridge.server.drain()
            await ended(asyncio.get_running_loop(), sock)
        sock.close()
        assert connections(bridge) == 0
