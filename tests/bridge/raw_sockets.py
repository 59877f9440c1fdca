"""Connections to a bridge without a WebSocket library: what only misbehaved clients send."""

import asyncio
import contextlib
import socket

from websockets.frames import Frame, Opcode

from tests.bridge.bridges import RunningBridge

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def tcp(bridge: RunningBridge, *, receive_buffer: int = 0) -> socket.socket:
    """Connect without a WebSocket library."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Loopback's segments are of 64 KiB. Into a window that is smaller than a segment, the kernel sends
        # only each time that a timer of 0.2 s and more runs out.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)
    sock.connect(("127.0.0.1", bridge.port))
    sock.setblocking(False)
    return sock


async def read_until(sock: socket.socket, what: bytes) -> bytes:
    """Read until something comes, or the end."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(30):
        while what not in data and (more := await loop.sock_recv(sock, 65536)):
            data += more
    return data


async def shake_hands(sock: socket.socket) -> None:
    """Become a WebSocket; read the first event."""
    await asyncio.get_running_loop().sock_sendall(sock, HANDSHAKE)
    assert b"connected" in await read_until(sock, b"server_time")


def framed(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """Return a message as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def connections(bridge: RunningBridge) -> int:
    """Return how many TCP connections are open."""
    return bridge.server._acceptor._connection_limiter.count


async def ended(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Wait for the end of a connection, or its first byte."""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            await loop.sock_recv(sock, 1)
