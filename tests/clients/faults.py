"""What stands between a client and its service and misbehaves on demand; and a service that does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc


class Proxy:
    """Passes bytes on, until it is told to cut its connections or to hold everything back."""

    def __init__(self, upstream: str) -> None:
        self._upstream: Final = upstream.rpartition(":")
        self._writers: Final[set[asyncio.StreamWriter]] = set()
        self._passing: Final = asyncio.Event()
        self._passing.set()
        self.refusing = False
        self.connections = 0
        self.address = ""

    def cut(self) -> None:
        """Break every connection, as a cable that is pulled and a peer that says so."""
        for writer in self._writers:
            writer.transport.abort()

    def hold(self) -> None:
        """Pass nothing on, and say nothing."""
        self._passing.clear()

    def go_on(self) -> None:
        """Pass everything on again."""
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        host, _, port = self._upstream
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers.update(both)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._writers.difference_update(both)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def proxied(upstream: str) -> AsyncIterator[Proxy]:
    """Put a proxy before a service."""
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.go_on()
        server.close()
        proxy.cut()


class FaultyService(detector_pb2_grpc.DetectorServiceServicer):
    """Does on a stream what a test says; all else is UNIMPLEMENTED."""

    def __init__(self, behave: Callable[[Any, Any], Awaitable[None]]) -> None:
        self._behave: Final = behave

    async def StreamDetections(  # type: ignore[override]  # noqa: N802 - the contract names the calls
        self, request: Any, context: Any
    ) -> None:
        await self._behave(request, context)


@asynccontextmanager
async def faulty(behave: Callable[[Any, Any], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a service whose streams go as `behave(requests, context)` does."""
    server = grpc.aio.server()
    detector_pb2_grpc.add_DetectorServiceServicer_to_server(FaultyService(behave), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0.2)


def configured() -> pb.StreamDetectionsResponse:
    """Return the answer to a configuration."""
    return pb.StreamDetectionsResponse(configured=pb.StreamConfig())


def result(sequence: int) -> pb.StreamDetectionsResponse:
    """Return the answer to a frame."""
    frame = pb.FrameInfo(sequence=sequence)
    return pb.StreamDetectionsResponse(result=pb.FrameResult(frame=frame))
