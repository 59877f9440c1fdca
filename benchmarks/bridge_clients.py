"""Clients of the bridge, and of the detector's own stream, with the same face: what they send differs, not how often."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

IN_FLIGHT: Final = 12  # frames under way: enough to keep every worker of a small machine busy
PROTOCOLS: Final = {
    "json": "crowd-detector.v1.json",
    "json-binary": "crowd-detector.v1.json-binary",
    "protobuf": "crowd-detector.v1.protobuf",
}


class WebSocketClient:
    """Sends frames in one protocol; each `receive` is an answer."""

    def __init__(self, websocket: ClientConnection, protocol: str) -> None:
        self._websocket = websocket
        self._protocol = protocol

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str, protocol: str) -> AsyncIterator["WebSocketClient"]:
        """Connect; let as many frames wait as are under way."""
        async with connect(
            f"ws://{address}/ws",
            subprotocols=[Subprotocol(PROTOCOLS[protocol])],
            compression=None,
            max_size=None,
            proxy=None,
        ) as websocket:
            await websocket.recv()
            yield cls(websocket, protocol)

    def message(self, image: bytes) -> str | bytes:
        """Return a frame's message."""
        header = b'{"event":"process_frame","data":{"timestamp":1640995200000}}'
        match self._protocol:
            case "json":
                text = base64.b64encode(image).decode()
                return json.dumps({"event": "process_frame", "data": {"frame": text}})
            case "json-binary":
                return len(header).to_bytes(4, "big") + header + image
            case _:
                frame = pb.Frame(encoded=image)
                return pb.StreamDetectionsRequest(frame=frame).SerializeToString()

    async def configure(self) -> None:
        """Let as many frames wait in the detector as are under way."""
        text = json.dumps({"event": "configure", "data": {"buffer_frames": IN_FLIGHT}})
        match self._protocol:
            case "json":
                await self._websocket.send(text)
            case "json-binary":
                await self._websocket.send(len(text).to_bytes(4, "big") + text.encode())
            case _:
                config = pb.StreamConfig(buffer_frames=IN_FLIGHT)
                await self._websocket.send(
                    pb.StreamDetectionsRequest(config=config).SerializeToString()
                )
        await self._websocket.recv()

    async def send(self, message: Any) -> None:
        """Send a frame's message."""
        await self._websocket.send(message)

    async def receive(self) -> int:
        """Wait for an answer; return how many frames were dropped before it. A refusal ends the benchmark."""
        answer = await self._websocket.recv()
        if isinstance(answer, bytes):
            return _dropped(pb.StreamDetectionsResponse.FromString(answer))
        event = json.loads(answer)
        if event["event"] != "detection_result":
            raise SystemExit(f"a frame was refused: {answer[:300]}")
        return sum(event["data"]["drops"].values())


class StreamClient:
    """The same over the detector's own stream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str, _: str) -> AsyncIterator["StreamClient"]:
        """Connect."""
        async with grpc.aio.insecure_channel(address) as channel:
            yield cls(detector_pb2_grpc.DetectorServiceStub(channel).StreamDetections())

    def message(self, image: bytes) -> pb.StreamDetectionsRequest:
        """Return a frame's message."""
        return pb.StreamDetectionsRequest(frame=pb.Frame(encoded=image))

    async def configure(self) -> None:
        """Let as many frames wait as are under way."""
        config = pb.StreamConfig(buffer_frames=IN_FLIGHT)
        await self._call.write(pb.StreamDetectionsRequest(config=config))
        await self._call.read()

    async def send(self, message: Any) -> None:
        """Send a frame's message."""
        await self._call.write(message)

    async def receive(self) -> int:
        """Wait for an answer; return how many frames were dropped before it. A refusal ends the benchmark."""
        return _dropped(await self._call.read())


def _dropped(answer: pb.StreamDetectionsResponse) -> int:
    if not answer.HasField("result"):
        raise SystemExit(f"a frame was refused: {answer}")
    return sum(drop.count for drop in answer.drops)
