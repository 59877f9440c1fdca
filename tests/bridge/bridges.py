"""Bridges for tests, in this process, and what a client of the JSON protocol does."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from bridge.server import BridgeServer
from bridge.settings import load_settings
from telemetry.metrics import Metrics
from telemetry.settings import OtelSettings
from tests.bridge.fake_detector import FakeDetector, faking

JPEG = b"\xff\xd8 not really \xff\xd9"


@dataclass(frozen=True)
class RunningBridge:
    """A bridge in this process."""

    server: BridgeServer
    port: int

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http(self) -> str:
        """Where its HTTP side is."""
        return f"http://127.0.0.1:{self.port}"


class Authority(NamedTuple):
    """What a bridge needs to speak TLS, and a client to trust it."""

    settings: dict[str, Any]
    trust: ssl.SSLContext


@asynccontextmanager
async def bridging(*addresses: str, **settings: Any) -> AsyncIterator[RunningBridge]:
    """Run a bridge in front of these detectors; what is not set has its default."""
    defaults = {"host": "127.0.0.1", "port": 0, "detector_address": ",".join(addresses)}
    metrics = Metrics("crowd-bridge", OtelSettings())
    server = BridgeServer(load_settings(_env_file=None, **(defaults | settings)), metrics)
    try:
        yield RunningBridge(server, await server.listen())
    finally:
        await server.drain()
        await asyncio.to_thread(metrics.close)


@asynccontextmanager
async def fake_and_bridge(**settings: Any) -> AsyncIterator[tuple[FakeDetector, RunningBridge]]:
    """Run a bridge in front of one fake detector."""
    async with faking() as (detector,), bridging(detector.address, **settings) as bridge:
        yield detector, bridge


class Client:
    """A client of the JSON protocol; each `receive` gives the next event."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, event: str, data: Any = None) -> None:
        """Send an event."""
        await self.websocket.send(json.dumps({"event": event, "data": data}))

    async def send_frame(self, image: bytes = JPEG, **data: Any) -> None:
        """Send a frame."""
        await self.send("process_frame", {"frame": base64.b64encode(image).decode()} | data)

    async def receive(self) -> tuple[str, dict[str, Any]]:
        """Return the next event's name and data."""
        async with asyncio.timeout(30):
            message = json.loads(await self.websocket.recv())
        assert set(message) == {"event", "data"}
        return message["event"], message["data"]

    async def error(self) -> dict[str, Any]:
        """Return the next event's data; it must be an error."""
        event, data = await self.receive()
        assert event == "error", data
        return data

    async def result(self) -> dict[str, Any]:
        """Return the next event's data; it must be a result."""
        event, data = await self.receive()
        assert event == "detection_result", data
        return data

    async def closed(self) -> int | None:
        """Wait for the close; return its code."""
        async with asyncio.timeout(30):
            await self.websocket.wait_closed()
        return self.websocket.close_code


@asynccontextmanager
async def client(
    url: str, *, welcome: bool = True, subprotocols: Sequence[str] = (), **options: Any
) -> AsyncIterator[Client]:
    """Connect; take the `connected` event, unless there will be none."""
    chosen = [Subprotocol(name) for name in subprotocols] or None
    options = {"compression": None, "max_size": None, "proxy": None} | options
    async with connect(url, subprotocols=chosen, **options) as websocket:
        connected = Client(websocket)
        if welcome:
            event, data = await connected.receive()
            assert event == "connected", data
        yield connected
