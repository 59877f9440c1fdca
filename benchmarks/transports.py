"""How frames get into a contender and answers out of it, as the load generator's streams see it.

    transport    speaks
    stream       gRPC, a StreamDetections call
    unary        gRPC, a Detect call for each frame
    ws-json      WebSocket, JSON with base64
    ws-binary    WebSocket, a JSON header and the image's bytes
    http-json    HTTP, a POST of JSON with base64 for each frame
    http-binary  HTTP, a POST of the image's bytes for each frame

Messages are made before anything is measured, and every stream has a connection of its own. gRPC and
HTTP are spoken without a library: a client that is dear takes the machine from what it measures, while
users' clients run elsewhere.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError, Message
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks import grpc_calls, http2

_STREAM: Final = "/crowd.detector.v1.DetectorService/StreamDetections"
_DETECT: Final = "/crowd.detector.v1.DetectorService/Detect"
_MOST_HEADERS: Final = 64 * 1024
_REFUSALS: Final = (http2.Http2Error, DecodeError, OSError, EOFError, ValueError, KeyError)


class TransportError(Exception):
    """The contender refused a frame, or ended the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        index: of the frame, from 0, those dropped counted.
        found: faces and bodies.
        dropped: frames that the contender says it dropped before this one.
    """

    index: int
    found: int
    dropped: int = 0


class Connection(Protocol):
    """One stream's connection to a contender."""

    async def send(self) -> None:
        """Send the next frame; return once there is room for another."""
        ...

    async def receive(self) -> Answer:
        """Return the next answer."""
        ...

    async def close(self) -> None:
        """Leave, without waiting for answers."""
        ...


class Grpc:
    """A StreamDetections call."""

    def __init__(
        self, connection: grpc_calls.Connection, messages: Sequence[bytes], first: int
    ) -> None:
        self._messages: Final = messages
        self._next = first
        self._connection: Final = connection
        self._call: Final = connection.call(_STREAM)

    async def send(self) -> None:
        """See Connection."""
        message = self._messages[self._next % len(self._messages)]
        self._next += 1
        try:
            await self._call.send(message)
        except http2.Http2Error as error:
            raise TransportError(str(error)) from error

    async def receive(self) -> Answer:
        """See Connection."""
        try:
            response = pb.StreamDetectionsResponse.FromString(await self._call.receive())
        except (http2.Http2Error, DecodeError) as error:
            raise TransportError(str(error)) from error
        if not response.HasField("result"):
            raise TransportError(f"the stream answered {response}")
        return Answer(
            response.result.frame.sequence - 1,
            len(response.result.faces) + len(response.result.bodies),
            sum(drop.count for drop in response.drops),
        )

    async def close(self) -> None:
        """See Connection."""
        self._connection.close()


class WebSocket:
    """A WebSocket; where answers do not say which frame they are of, they come in order."""

    def __init__(
        self, websocket: ClientConnection, messages: Sequence[str | bytes], first: int
    ) -> None:
        self._websocket: Final = websocket
        self._messages: Final = messages
        self._next = first
        self._answered = 0

    @classmethod
    async def connect(
        cls, address: str, subprotocol: str, messages: Sequence[str | bytes], first: int
    ) -> "WebSocket":
        """Connect, and wait for the greeting."""
        websocket = await connect(
            f"ws://{address}/ws",
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=0.1,
            proxy=None,
        )
        await websocket.recv()
        return cls(websocket, messages, first)

    async def send(self) -> None:
        """See Connection."""
        message = self._messages[self._next % len(self._messages)]
        self._next += 1
        await self._websocket.send(message)

    async def receive(self) -> Answer:
        """See Connection."""
        event = json.loads(await self._websocket.recv())
        if event["event"] != "detection_result":
            raise TransportError(f"a frame was refused: {str(event)[:300]}")
        data = event["data"]
        self._answered += 1
        return Answer(
            data.get("frame", {}).get("sequence", self._answered) - 1,
            len(data["faces"]) + len(data["bodies"]),
            sum(data.get("drops", {}).values()),
        )

    async def close(self) -> None:
        """See Connection."""
        self._websocket.transport.abort()
        with suppress(ConnectionClosed, TimeoutError):
            await self._websocket.wait_closed()


class Calls:
    """A call for each frame: some under way at once, each over a line of its own."""

    def __init__(self, lines: Sequence["_Line"], messages: Sequence[bytes], first: int) -> None:
        self._lines: Final = lines
        self._free: Final[asyncio.Queue[_Line]] = asyncio.Queue()
        for line in lines:
            self._free.put_nowait(line)
        self._messages: Final = messages
        self._first: Final = first
        self._sent = 0
        self._answers: Final[asyncio.Queue[Answer | Exception]] = asyncio.Queue()
        self._under_way: Final[set[asyncio.Task[None]]] = set()

    async def send(self) -> None:
        """See Connection."""
        line = await self._free.get()
        call = asyncio.create_task(self._call(line, self._sent))
        self._sent += 1
        self._under_way.add(call)
        call.add_done_callback(self._under_way.discard)

    async def receive(self) -> Answer:
        """See Connection."""
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise TransportError(f"a frame was refused: {answer}") from answer
        return answer

    async def close(self) -> None:
        """See Connection."""
        for call in list(self._under_way):
            call.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for line in self._lines:
            await line.close()

    async def _call(self, line: "_Line", index: int) -> None:
        message = self._messages[(self._first + index) % len(self._messages)]
        try:
            self._answers.put_nowait(Answer(index, await line.call(message)))
        except _REFUSALS as error:
            self._answers.put_nowait(error)
        self._free.put_nowait(line)


class _Line(Protocol):
    async def call(self, message: bytes) -> int:
        """Have one frame looked at; return how many faces and bodies were found."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


class _Detect:
    """A place for one Detect call; those of one stream share its connection."""

    def __init__(self, connection: grpc_calls.Connection) -> None:
        self._connection: Final = connection

    async def call(self, message: bytes) -> int:
        """See _Line."""
        call = self._connection.call(_DETECT)
        await call.send(message, last=True)
        result = pb.DetectResponse.FromString(await call.only_answer()).result
        return len(result.faces) + len(result.bodies)

    async def close(self) -> None:
        """See _Line."""
        self._connection.close()


class _Http:
    """One HTTP/1.1 connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer

    @classmethod
    async def connect(cls, address: str) -> "_Http":
        """Connect."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=_MOST_HEADERS))

    async def call(self, message: bytes) -> int:
        """See _Line."""
        self._writer.write(message)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, *lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        body = await self._reader.readexactly(int(fields["content-length"]))
        if " 200 " not in f"{status} ":
            raise ValueError(f"{status}: {body[:300]!r}")
        data = json.loads(body)
        return len(data["faces"]) + len(data["bodies"])

    async def close(self) -> None:
        """See _Line."""
        self._writer.transport.abort()


def messages(transport: str, images: Sequence[bytes]) -> list[Any]:
    """Return what is sent for each image."""
    match transport:
        case "stream":
            return [
                _message(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=image)))
                for image in images
            ]
        case "unary":
            return [_message(pb.DetectRequest(frame=pb.Frame(encoded=image))) for image in images]
        case "ws-json":
            return [
                json.dumps({"event": "process_frame", "data": {"frame": _base64(image)}})
                for image in images
            ]
        case "ws-binary":
            header = b'{"event":"process_frame"}'
            return [len(header).to_bytes(4, "big") + header + image for image in images]
        case "http-json":
            return [
                _post("application/json", json.dumps({"image": _base64(image)}).encode())
                for image in images
            ]
        case "http-binary":
            return [_post("image/jpeg", image) for image in images]
    raise ValueError(f"no transport is called {transport!r}")


async def open_connection(
    transport: str, address: str, prepared: Sequence[Any], first: int, most_calls: int
) -> Connection:
    """Connect.

    Args:
        transport: its name.
        address: host:port.
        prepared: what `messages` gave for this transport.
        first: which of them is sent first.
        most_calls: that are under way at once, where each frame is a call.

    Raises:
        TransportError: nothing there speaks gRPC.
    """
    match transport:
        case "stream":
            return Grpc(await _grpc(address), prepared, first)
        case "unary":
            connection = await _grpc(address)
            return Calls([_Detect(connection) for _ in range(most_calls)], prepared, first)
        case "ws-json":
            return await WebSocket.connect(address, "", prepared, first)
        case "ws-binary":
            return await WebSocket.connect(
                address, "crowd-detector.v1.json-binary", prepared, first
            )
        case "http-json" | "http-binary":
            lines = [await _Http.connect(address) for _ in range(most_calls)]
            return Calls(lines, prepared, first)
    raise ValueError(f"no transport is called {transport!r}")


async def _grpc(address: str) -> grpc_calls.Connection:
    try:
        return await grpc_calls.Connection.connect(address)
    except http2.Http2Error as error:
        raise TransportError(str(error)) from error


def _message(request: Message) -> bytes:
    return http2.message(request.SerializeToString())


def _base64(image: bytes) -> str:
    return base64.b64encode(image).decode("ascii")


def _post(kind: str, body: bytes) -> bytes:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
