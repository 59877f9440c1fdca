"""gRPC health: asked once, watched, and not read."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers import serving

STATUSES = health_pb2.HealthCheckResponse
#: Types of HTTP/2's frames, RFC 9113, section 6.
DATA, HEADERS, SETTINGS = 0, 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header(name: str, value: str) -> bytes:
    """Return a header as RFC 7541, section 6.2.2, has it: a literal."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


@asynccontextmanager
async def watching_without_reading(address: str) -> AsyncIterator[None]:
    """Watch health with a flow-control window of no bytes, so that nothing can be sent."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    called = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Watch",
        ":authority": address,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    writer.write(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
        + _frame(SETTINGS, 1, 0)
        + _frame(HEADERS, 4, 1, b"".join(_header(*each) for each in called.items()))
        + _frame(DATA, 1, 1, bytes(5))  # an empty message
    )
    kind = None
    while kind != HEADERS:  # of the answer, which its message cannot follow
        length, kind, _, _ = struct.unpack(">IBBI", b"\0" + await reader.readexactly(9))
        await reader.readexactly(length)
    try:
        yield
    finally:
        writer.close()


async def test_one_who_watches_and_does_not_read_holds_up_nobody() -> None:
    """Neither the others, nor the service's start and end."""
    request = health_pb2.HealthCheckRequest()
    async with (
        asyncio.timeout(60),
        serving(load=False) as running,
        watching_without_reading(running.address),
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(request)).status == STATUSES.NOT_SERVING
        await running.server.load()
        assert (await stub.Check(request)).status == STATUSES.SERVING
        await running.server.drain()


async def test_a_service_that_is_not_there() -> None:
    """Is not found by who asks, and unknown to who watches: it may come."""
    request = health_pb2.HealthCheckRequest(service="crowd.detector.v2.DetectorService")
    async with (
        serving(load=False) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Check(request)
        assert failed.value.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(request)
        assert (await watch.read()).status == STATUSES.SERVICE_UNKNOWN
        watch.cancel()
