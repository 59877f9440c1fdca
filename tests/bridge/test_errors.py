"""Every error code and every close code, each at least once, in one table."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from websockets.exceptions import ConnectionClosed

from bridge import protocols
from bridge.errors import ErrorCode
from tests.bridge.bridges import Client, client, fake_and_bridge
from tests.bridge.fake_detector import FakeDetector
from tests.servers import until

_Act = Callable[[Client, FakeDetector], Awaitable[None]]
BASE64 = base64.b64encode(b"image").decode()


def says(message: str | bytes) -> _Act:
    """Send a message as it is."""

    async def act(browser: Client, _: FakeDetector) -> None:
        await browser.websocket.send(message)

    return act


def frame(**data: Any) -> _Act:
    """Send a frame."""
    return says(json.dumps({"event": "process_frame", "data": {"frame": BASE64} | data}))


def configure(**data: Any) -> _Act:
    """Send a configuration."""
    return says(json.dumps({"event": "configure", "data": data}))


def fails(reason: "pb.ErrorReason.ValueType") -> _Act:
    """Have the detector refuse a frame."""

    async def act(browser: Client, detector: FakeDetector) -> None:
        detector.fail_frames["bad"] = pb.FrameError(reason=reason, message="of the detector")
        await browser.send_frame(frame_id="bad")

    return act


async def gone(browser: Client, detector: FakeDetector) -> None:
    """Send a frame to a detector that is gone."""
    await detector.stop()
    await browser.send_frame()


async def refused(browser: Client, detector: FakeDetector) -> None:
    """Send a frame to a detector that takes no streams."""
    detector.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED
    await browser.send_frame()


async def flood(browser: Client, _: FakeDetector) -> None:
    """Send more frames at once than are let through."""
    for _number in range(4):
        await browser.send_frame()
    for _number in range(2):
        await browser.result()


async def dither(browser: Client, _: FakeDetector) -> None:
    """Send more other events at once than are let through."""
    for _number in range(41):
        await browser.send("unsubscribe_alerts")


async def nothing(browser: Client, _: FakeDetector) -> None:
    """Only connect."""


@dataclass(frozen=True)
class Case:
    """What a client does, and what it gets for it."""

    name: str
    act: _Act
    code: ErrorCode
    words: str
    close: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    subprotocol: str = protocols.JSON
    welcome: bool = True


TOKENS = {"auth_tokens_file": "TOKENS"}
FEW = {"max_frame_rate": 0.001, "max_frame_burst": 2}
CODE = ErrorCode
CASES = [
    Case("not JSON", says("{"), CODE.INVALID_MESSAGE, "not JSON"),
    Case("empty", says(""), CODE.INVALID_MESSAGE, "not JSON"),
    Case("NaN", says('{"event": NaN}'), CODE.INVALID_MESSAGE, "not JSON"),
    Case("half a surrogate", says('{"event": "\\ud800"}'), CODE.INVALID_MESSAGE, "not JSON"),
    Case("an array", says("[]"), CODE.INVALID_MESSAGE, "must be an object"),
    Case("no event", says("{}"), CODE.INVALID_MESSAGE, "process_frame"),
    Case("event is a number", says('{"event": 1}'), CODE.INVALID_MESSAGE, "must be an object"),
    Case("deep", says('{"event":"process_frame","data":' + "[" * 10**5), CODE.INVALID_MESSAGE, ""),
    Case(
        "deep, passed over",
        says('{"a":' + "[" * 10**5 + "]" * 10**5 + ',"event":"process_frame"}'),
        CODE.INVALID_MESSAGE,
        "nested",
    ),
    Case("unknown event", says('{"event": "dance"}'), CODE.UNKNOWN_EVENT, "'dance'"),
    Case(
        "a server's event", says('{"event": "connected", "data": {}}'), CODE.UNKNOWN_EVENT, "event"
    ),
    Case("no data", says('{"event": "process_frame"}'), CODE.INVALID_MESSAGE, "`data`"),
    Case(
        "no frame", says('{"event": "process_frame", "data": {}}'), CODE.INVALID_MESSAGE, "`frame`"
    ),
    Case("frame is a number", frame(frame=1), CODE.INVALID_MESSAGE, "$.data.frame"),
    Case("timestamp is text", frame(timestamp="now"), CODE.INVALID_MESSAGE, "$.data.timestamp"),
    Case("timestamp too late", frame(timestamp=1e300), CODE.INVALID_MESSAGE, "data.timestamp"),
    Case(
        "confidence too high",
        frame(settings={"confidence_threshold": 1.5}),
        CODE.INVALID_MESSAGE,
        "<= 1",
    ),
    Case(
        "threshold negative",
        frame(settings={"crowd_threshold": -1}),
        CODE.INVALID_MESSAGE,
        "crowd_threshold",
    ),
    Case("camera too long", frame(camera="ä" * 200), CODE.INVALID_MESSAGE, "256 bytes"),
    Case(
        "the name of a field that is as long as the message",
        configure(**{"x" * 100_000: 1}),
        CODE.INVALID_MESSAGE,
        "this version knows",
    ),
    Case("tracking", configure(tracking=True), CODE.INVALID_MESSAGE, "this version knows"),
    Case("buffer too large", configure(buffer_frames=33), CODE.INVALID_MESSAGE, "buffer_frames"),
    Case("priority too high", configure(priority=101), CODE.INVALID_MESSAGE, "priority"),
    Case("no time at all", configure(max_age=0), CODE.INVALID_MESSAGE, "max_age"),
    Case("binary on JSON", says(b"\x00"), CODE.INVALID_MESSAGE, "text"),
    Case(
        "text on protobuf",
        says("{}"),
        CODE.INVALID_MESSAGE,
        "binary",
        subprotocol=protocols.PROTOBUF,
    ),
    Case(
        "not a message",
        says(b"\xff\xff"),
        CODE.INVALID_MESSAGE,
        "crowd.detector.v1",
        subprotocol=protocols.PROTOBUF,
    ),
    Case("no message", says(b""), CODE.INVALID_MESSAGE, "empty", subprotocol=protocols.PROTOBUF),
    Case(
        "config out of range",
        says(
            pb.StreamDetectionsRequest(
                config=pb.StreamConfig(max_frame_rate=float("nan"))
            ).SerializeToString()
        ),
        CODE.INVALID_MESSAGE,
        "max_frame_rate",
        subprotocol=protocols.PROTOBUF,
    ),
    Case(
        "priority out of range",
        says(pb.StreamDetectionsRequest(config=pb.StreamConfig(priority=101)).SerializeToString()),
        CODE.INVALID_MESSAGE,
        "config.priority must lie in [0, 100]",
        subprotocol=protocols.PROTOBUF,
    ),
    Case(
        "age out of range",
        says(
            pb.StreamDetectionsRequest(
                config=pb.StreamConfig(max_age=Duration(seconds=-1))
            ).SerializeToString()
        ),
        CODE.INVALID_MESSAGE,
        "config.max_age must lie in [0.001, 3600]",
        subprotocol=protocols.PROTOBUF,
    ),
    Case(
        "text on JSON-binary",
        says("{}"),
        CODE.INVALID_MESSAGE,
        "binary",
        subprotocol=protocols.JSON_BINARY,
    ),
    Case(
        "shorter than it says",
        says(b"\x00\x00\x00\x09{}"),
        CODE.INVALID_MESSAGE,
        "big-endian",
        subprotocol=protocols.JSON_BINARY,
    ),
    Case(
        "image after configure",
        says(b'\x00\x00\x00\x1f{"event":"configure","data":{}}image'),
        CODE.INVALID_MESSAGE,
        "brings no image",
        subprotocol=protocols.JSON_BINARY,
    ),
    Case(
        "no UTF-8 behind what is not acceptable",
        says(b'\x00\x00\x00\x2a{"event":"configure","data":5,"event":"\xff"}'),
        CODE.INVALID_MESSAGE,
        "must be an object",
        subprotocol=protocols.JSON_BINARY,
    ),
    Case("bad base64", frame(frame="a?b="), CODE.INVALID_FRAME, "base64"),
    Case("base64 cut off", frame(frame="abc"), CODE.INVALID_FRAME, "base64"),
    Case("not ASCII", frame(frame="äöü="), CODE.INVALID_FRAME, "base64"),
    Case("data URL as text", frame(frame="data:,abcd"), CODE.INVALID_FRAME, "data: URL"),
    Case(
        "not an image",
        fails(pb.ERROR_REASON_UNSUPPORTED_IMAGE),
        CODE.UNSUPPORTED_IMAGE,
        "of the detector",
    ),
    Case("no image", fails(pb.ERROR_REASON_IMAGE_MISSING), CODE.UNSUPPORTED_IMAGE, ""),
    Case("truncated", fails(pb.ERROR_REASON_TRUNCATED_IMAGE), CODE.UNSUPPORTED_IMAGE, ""),
    Case("animated", fails(pb.ERROR_REASON_ANIMATED_IMAGE), CODE.UNSUPPORTED_IMAGE, ""),
    Case("corrupt", fails(pb.ERROR_REASON_CORRUPT_IMAGE), CODE.UNSUPPORTED_IMAGE, ""),
    Case("too many pixels", fails(pb.ERROR_REASON_FRAME_TOO_LARGE), CODE.FRAME_TOO_LARGE, ""),
    Case("bad setting", fails(pb.ERROR_REASON_INVALID_SETTINGS), CODE.INVALID_MESSAGE, ""),
    Case(
        "inference failed",
        fails(pb.ERROR_REASON_INFERENCE_FAILED),
        CODE.PROCESSING_ERROR,
        "of the detector",
    ),
    Case(
        "too many bytes",
        frame(frame=base64.b64encode(bytes(2000)).decode()),
        CODE.FRAME_TOO_LARGE,
        "MAX_FRAME_BYTES",
        settings={"max_frame_bytes": 1024},
    ),
    Case(
        "message too large",
        says("x" * 5000),
        CODE.FRAME_TOO_LARGE,
        "MAX_WEBSOCKET_MESSAGE_BYTES",
        close=1009,
        settings={"max_websocket_message_bytes": 4096},
    ),
    Case("too fast", flood, CODE.RATE_LIMITED, "MAX_FRAME_RATE", settings=FEW),
    Case("too many other events", dither, CODE.RATE_LIMITED, "that are no frames"),
    Case("detector gone", gone, CODE.DETECTOR_UNAVAILABLE, "no detector answers"),
    Case("detector full", refused, CODE.DETECTOR_UNAVAILABLE, "no detector answers"),
    Case(
        "no alerts",
        says('{"event": "subscribe_alerts"}'),
        CODE.DETECTOR_UNAVAILABLE,
        "does not give alerts",
    ),
    Case(
        "wrong token",
        says('{"event": "authenticate", "data": {"token": "guess"}}'),
        CODE.UNAUTHORIZED,
        "not known",
        close=1008,
        settings=TOKENS,
        welcome=False,
    ),
    Case(
        "no token",
        frame(),
        CODE.UNAUTHORIZED,
        "bearer",
        close=1008,
        settings=TOKENS,
        welcome=False,
    ),
    Case(
        "nothing said, where a token is asked for",
        nothing,
        CODE.UNAUTHORIZED,
        "none came within 2 s",
        close=1008,
        settings=TOKENS | {"handshake_timeout": 2.0},
        welcome=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_bad_input_gets(case: Case, tmp_path: Path) -> None:
    """The documented error; the connection stays and goes on working, unless it is documented to close."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    settings = {
        name: tokens if value == "TOKENS" else value for name, value in case.settings.items()
    }
    async with (
        fake_and_bridge(**settings) as (detector, bridge),
        client(bridge.url, welcome=case.welcome, subprotocols=[case.subprotocol]) as browser,
    ):
        await case.act(browser, detector)
        data = await browser.error()
        assert data["code"] == case.code
        assert case.words in data["message"]
        texts = [data[key] for key in ("code", "message", "details")]
        # 128 of them may wait, so none repeats what may be as long as a message.
        assert all(isinstance(text, str) and len(text) < 1000 for text in texts)
        if case.close is not None:
            assert await browser.closed() == case.close
        await until(lambda: bridge.server.stats.refused[case.code])  # as the client was told
        if case.close is not None:
            return
        if case.name != "too fast":
            await _still_works(browser, detector, case.subprotocol)


async def _still_works(browser: Client, detector: FakeDetector, subprotocol: str) -> None:
    detector.refuse = None
    if case_is_stopped(detector):
        await detector.restart()
    request = pb.StreamDetectionsRequest(frame=pb.Frame(frame_id="good", encoded=b"image"))
    header = b'{"event":"process_frame","data":{"frame_id":"good"}}'
    match subprotocol:
        case protocols.PROTOBUF:
            await browser.websocket.send(request.SerializeToString())
        case protocols.JSON_BINARY:
            await browser.websocket.send(len(header).to_bytes(4, "big") + header + b"image")
        case _:
            await browser.send_frame(frame_id="good")
    async with asyncio.timeout(30):
        while True:
            message = await browser.websocket.recv()
            if isinstance(message, bytes):
                answer = pb.StreamDetectionsResponse.FromString(message)
                assert answer.result.frame.frame_id == "good"
                return
            event = json.loads(message)
            assert event["event"] == "detection_result", event
            if event["data"]["frame"].get("frame_id") == "good":
                return


def case_is_stopped(detector: FakeDetector) -> bool:
    """Return whether a test has stopped it."""
    return detector._server is None


def test_every_code_is_in_the_table() -> None:
    """CONNECTION_LIMIT is tested where connections are."""
    assert {case.code for case in CASES} == set(ErrorCode) - {ErrorCode.CONNECTION_LIMIT}


async def test_connection_limit() -> None:
    """Accepted, told, closed with 1013; reported as an alert; a place that is free again can be had."""
    async with fake_and_bridge(max_concurrent_connections=2) as (detector, bridge):
        async with client(bridge.url), client(bridge.url):
            async with client(bridge.url, welcome=False) as third:
                data = await third.error()
                assert data["code"] == ErrorCode.CONNECTION_LIMIT
                assert "MAX_CONCURRENT_CONNECTIONS" in data["message"]
                assert await third.closed() == 1013
            async with asyncio.timeout(10):
                while not detector.reported:
                    await asyncio.sleep(0.002)
        assert detector.reported[0].type == pb.ALERT_TYPE_CONNECTION_LIMIT
        async with asyncio.timeout(10):
            while True:
                try:
                    async with client(bridge.url):
                        return
                except (AssertionError, ConnectionClosed):
                    await asyncio.sleep(0.01)


async def test_connections_of_one_address() -> None:
    """Have a limit of their own, where one is set."""
    async with (
        fake_and_bridge(max_connections_per_address=1) as (detector, bridge),
        client(bridge.url),
        client(bridge.url, welcome=False) as second,
    ):
        data = await second.error()
        assert data["code"] == ErrorCode.CONNECTION_LIMIT
        assert "MAX_CONNECTIONS_PER_ADDRESS" in data["message"]
        assert await second.closed() == 1013
        assert not detector.reported
