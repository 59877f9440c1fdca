"""Clients that flood, never read, never send, lie or vanish: each within its bounds, and others unharmed."""

import asyncio
import base64
import gc
import json
import os
from collections import Counter

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from bridge import protocols
from bridge.answers import Answers
from bridge.client_writer import ClientWriter
from bridge.detector_stream import DetectorStream
from bridge.frame_queue import Entry, FrameQueue
from bridge.server import BridgeServer
from bridge.session import Session
from tests.bridge.bridges import RunningBridge, bridging, client, fake_and_bridge
from tests.bridge.fake_detector import FakeDetector, result
from tests.bridge.raw_sockets import (
    HANDSHAKE,
    framed,
    read_until,
    shake_hands,
    tcp,
)
from tests.servers import until


def process_frame(image: bytes = b"image", **data: object) -> bytes:
    """Return a frame's event."""
    text = base64.b64encode(image).decode()
    return json.dumps({"event": "process_frame", "data": {"frame": text} | data}).encode()


def sessions(server: BridgeServer) -> int:
    """Return how many are open."""
    return len(server._sessions)


async def others_are_served(bridge: RunningBridge) -> None:
    """A well-behaved client gets its answers meanwhile."""
    async with client(bridge.url) as browser:
        for _ in range(3):
            await browser.send_frame()
            await browser.result()


class LargeAnswers(FakeDetector):
    """Finds very many faces."""

    def _answer(self, frame, sequence, camera):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        response = super()._answer(frame, sequence, camera)
        response.result.faces.extend(list(result(frame, sequence).faces) * 1000)
        return response


async def test_a_client_that_never_reads_is_cut_off() -> None:
    """Its frames go on being read, and the newest kept, until the write has waited too long."""
    detector = LargeAnswers()
    await detector.start()
    async with bridging(detector.address, websocket_write_timeout=1.0, max_frame_rate=0) as bridge:
        sock = tcp(bridge, receive_buffer=4096)
        await shake_hands(sock)
        (session,) = bridge.server._sessions
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it comes
            async with asyncio.timeout(60):
                while True:
                    await loop.sock_sendall(sock, framed(process_frame(bytes(10_000))))
                    assert len(session._queue) <= 128
                    assert session._websocket.transport.get_write_buffer_size() < 3_000_000
        sock.close()
        assert session._answers._drops["client_slow"] > 0
        await until(lambda: sessions(bridge.server) == 0)
        await others_are_served(bridge)
    await detector.stop()


async def test_a_slow_reader_learns_what_was_dropped() -> None:
    """It reads again, and the answers say how many frames it missed, and why."""
    detector = LargeAnswers()
    await detector.start()
    async with (
        bridging(detector.address, max_frame_rate=0) as bridge,
        client(bridge.url, max_queue=1, sock=tcp(bridge, receive_buffer=4096)) as browser,
    ):
        (session,) = bridge.server._sessions
        sent = 0
        while session._answers._drops["client_slow"] < 5:
            await browser.send_frame(frame_id=str(sent))
            sent += 1
            # A client in the same event loop would send a hundred thousand before the bridge has its turn.
            await until(lambda: session._received == sent)  # noqa: B023 - it is over with this round
        told = answered = 0
        while told + answered < sent:
            data = await browser.result()
            told += sum(data["drops"].values())
            answered += 1
        assert told + answered == sent
    await detector.stop()


async def test_a_flood_is_let_through_at_its_rate() -> None:
    """Told once; the frames that were passed over are counted."""
    async with (
        fake_and_bridge(max_frame_rate=20, max_frame_burst=5, bridge_buffer_frames=32) as (
            detector,
            bridge,
        ),
        client(bridge.url) as browser,
    ):
        (session,) = bridge.server._sessions
        for _ in range(500):
            await browser.websocket.send(process_frame().decode())
        await until(lambda: session._received == 500)
        await until(lambda: len(detector.frames) >= 5)
        served = len(detector.frames)
        assert served < 400
        errors = results = 0
        async with asyncio.timeout(30):
            while results < served or not errors:
                event, _ = await browser.receive()
                errors += event == "error"
                results += event == "detection_result"
        assert errors == 1
        await others_are_served(bridge)


async def test_frames_that_wait_are_bounded_with_all_that_they_bring() -> None:
    """A frame of the protobuf protocol is kept as it came, and its image need not be the most of it."""
    async with (
        fake_and_bridge(bridge_buffer_frames=32, bridge_buffer_bytes=1024) as (detector, bridge),
        client(bridge.url, subprotocols=[protocols.PROTOBUF]) as browser,
    ):
        await detector.stop()
        frame = pb.Frame(frame_id="x" * 1000, encoded=b"image")
        request = pb.StreamDetectionsRequest(frame=frame).SerializeToString()
        for _ in range(3):
            await browser.websocket.send(request)
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 3)
        await until(lambda: session._queue.waiting == 1)


async def test_an_event_is_answered_amid_a_flood_of_frames() -> None:
    """RATE_LIMITED is about frames, whichever subprotocol they come by."""
    header = b'\0\0\0\x19{"event":"process_frame"}'
    for subprotocol, frame, configure in (
        (protocols.JSON, process_frame().decode(), '{"event":"configure","data":{}}'),
        (
            protocols.JSON_BINARY,
            header,
            b'\0\0\0\x1f{"event":"configure","data":{}}',
        ),
        (
            protocols.PROTOBUF,
            pb.StreamDetectionsRequest(frame=pb.Frame(encoded=b"image")).SerializeToString(),
            pb.StreamDetectionsRequest(config=pb.StreamConfig()).SerializeToString(),
        ),
    ):
        async with (
            fake_and_bridge(max_frame_rate=0.001, max_frame_burst=1) as (detector, bridge),
            client(bridge.url, subprotocols=[subprotocol]) as browser,
        ):
            for message in (frame, frame, frame, configure, frame):
                await browser.websocket.send(message)
            await until(lambda: detector.configs[1:])
            (session,) = bridge.server._sessions
            await until(lambda: session._received == 5)  # noqa: B023 - likewise
            assert len(detector.frames) == 1


async def test_events_cost_no_frames() -> None:
    """The two limits are apart: refused events do not use up what frames have, nor the reverse."""
    async with (
        fake_and_bridge(max_frame_rate=0.001, max_frame_burst=2) as (_, bridge),
        client(bridge.url) as browser,
    ):
        for _ in range(300):
            await browser.send("authenticate", {"token": "any"})
        for number in (1, 2):
            await browser.send_frame(frame_id=str(number))
        refused = answered = 0
        while answered < 2:
            event, data = await browser.receive()
            if event == "error":
                assert data["code"] == "RATE_LIMITED"
                assert 40 + refused < data["frame"]["sequence"] <= 300
                refused += 1
            else:
                answered += 1
        assert refused > 0


async def test_a_flood_of_events_is_acted_on_at_its_rate() -> None:
    """However large MAX_FRAME_RATE is; and a flood of garbage is decoded no faster than its own limit."""
    async with fake_and_bridge(max_frame_rate=0) as (_, bridge), client(bridge.url) as browser:
        for _ in range(300):
            await browser.send("configure", {"camera": "door"})
        told = Counter[str]()
        while not told["configured"] or told["error"] < 50:
            event, _ = await browser.receive()
            told[event] += 1
        await others_are_served(bridge)
    async with (
        fake_and_bridge(max_frame_rate=0.001, max_frame_burst=1) as (_, bridge),
        client(bridge.url) as browser,
    ):
        for _ in range(300):
            await browser.websocket.send("garbage")
        codes = [(await browser.error())["code"] for _ in range(300)]
        assert codes[:41] == ["INVALID_MESSAGE"] * 41
        assert "RATE_LIMITED" in codes


async def test_garbage_from_a_client_that_does_not_read_stops_being_read() -> None:
    """Every refusal needs room; there is none, so the kernel's buffers fill, and the client waits."""
    async with fake_and_bridge(max_frame_rate=0, websocket_write_timeout=1.0) as (_, bridge):
        sock = tcp(bridge, receive_buffer=4096)
        await shake_hands(sock)
        (session,) = bridge.server._sessions
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError):  # noqa: PT011
            async with asyncio.timeout(60):
                while True:
                    await loop.sock_sendall(sock, framed(b"garbage") * 100)
                    assert len(session._queue) <= 129
        sock.close()
        await until(lambda: sessions(bridge.server) == 0)


async def test_pings_of_a_client_that_does_not_read_end_it() -> None:
    """Pongs are the one thing that is written without waiting; they are bounded all the same."""
    async with fake_and_bridge() as (_, bridge):
        sock = tcp(bridge, receive_buffer=4096)
        await shake_hands(sock)
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError):  # noqa: PT011
            async with asyncio.timeout(60):
                while True:
                    await loop.sock_sendall(sock, framed(bytes(125), Opcode.PING) * 100)
        sock.close()
        await until(lambda: sessions(bridge.server) == 0)


async def test_a_client_that_vanished_is_found_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection: nothing comes, no pong, and no answer to the close either."""
    monkeypatch.setattr("bridge.server._CLOSE_SECONDS", 0.1)
    async with fake_and_bridge(ping_interval=0.1, ping_timeout=0.3) as (_, bridge):
        sock = tcp(bridge)
        await shake_hands(sock)
        assert sessions(bridge.server) == 1
        await until(lambda: sessions(bridge.server) == 0)
        assert bridge.server._slots.taken() == 0
        sock.close()


async def test_a_client_that_is_silent_is_let_go() -> None:
    """After IDLE_TIMEOUT, with 1000 and the reason."""
    async with fake_and_bridge(idle_timeout=0.3) as (_, bridge), client(bridge.url) as browser:
        assert await browser.closed() == 1000
        assert "IDLE_TIMEOUT" in (browser.websocket.close_reason or "")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"mask", 1009),  # lies about its length: 2^63 bytes
        (framed(b"\xff\xfe"), 1007),  # text that is no UTF-8
        (framed(b"more", Opcode.CONT), 1002),  # a continuation of nothing
        (b"\x81\x05hello", 1002),  # not masked
        (b"\xf1\x80mask", 1002),  # reserved bits: compression that was not negotiated
        (framed(process_frame())[:50], None),  # closes mid-frame
        (b"\x16\x03\x01garbage", 1002),
    ],
    ids=["liar", "not UTF-8", "continuation", "unmasked", "reserved", "mid-frame", "garbage"],
)
async def test_what_breaks_the_protocol_ends_its_own_connection(
    data: bytes, code: int | None
) -> None:
    """With the close code that RFC 6455 has for it; nothing is left over, and others are served."""
    async with fake_and_bridge() as (_, bridge), client(bridge.url) as bystander:
        sock = tcp(bridge)
        await shake_hands(sock)
        await asyncio.get_running_loop().sock_sendall(sock, data)
        if code is not None:
            answer = await read_until(sock, b"\x00\x00\x00\x00")
            assert code.to_bytes(2, "big") in answer
        sock.close()
        await until(lambda: sessions(bridge.server) == 1)
        assert bridge.server._slots.taken() == 1
        await bystander.send_frame()
        await bystander.result()


async def test_messages_that_come_with_the_handshake_are_taken() -> None:
    """A client should wait for the answer; what one sends that does not is kept until then."""
    async with fake_and_bridge() as (detector, bridge):
        sock = tcp(bridge)
        both = HANDSHAKE + framed(process_frame(b"one"))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, both)
        await loop.sock_sendall(sock, framed(process_frame(b"two")))
        await until(lambda: detector.frames[1:])
        assert [frame.encoded for frame in detector.frames] == [b"one", b"two"]
        sock.close()


async def test_fragmented_messages_are_put_together() -> None:
    """Whatever the fragments."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        text = process_frame(os.urandom(1000)).decode()
        await browser.websocket.send([text[:1], text[1:500], "", text[500:]])
        await browser.result()
        assert len(detector.frames[0].encoded) == 1000


@pytest.mark.parametrize("offered", [True, False])
async def test_compression_is_there_where_it_is_switched_on(offered: bool) -> None:
    """And the size of a message is limited as it is after decompression."""
    async with (
        fake_and_bridge(websocket_compression=offered, max_websocket_message_bytes=100_000) as (
            _,
            bridge,
        ),
        client(bridge.url, compression="deflate") as browser,
    ):
        assert bool(browser.websocket.protocol.extensions) is offered
        await browser.send_frame()
        await browser.result()
        await browser.websocket.send("x" * (10_000_000 if offered else 200_000))
        assert (await browser.error())["code"] == "FRAME_TOO_LARGE"
        assert await browser.closed() == 1009


async def test_what_a_client_leaves_behind_is_cleaned_up() -> None:
    """Its slot, its stream, its tasks; whether it says good-bye or not."""
    async with fake_and_bridge(max_concurrent_connections=500) as (detector, bridge):
        before = len(asyncio.all_tasks())
        for abrupt in (True, False) * 10:
            async with client(bridge.url) as browser:
                await browser.send_frame()
                await browser.result()
                await browser.send("subscribe_alerts")
                if abrupt:
                    browser.websocket.transport.abort()
        await until(lambda: sessions(bridge.server) == 0 and detector.streams == 0)
        assert bridge.server._slots.taken() == 0
        # gRPC's own tasks of calls that end a moment later than their clients.
        await until(lambda: len(asyncio.all_tasks()) <= before + 2)


async def test_a_connection_that_ended_keeps_nothing() -> None:
    """Its frames go with it, not when the cyclic collector comes by: until then, reconnecting would fill memory."""
    gc.collect()
    gc.disable()
    try:
        async with fake_and_bridge(max_frame_rate=0) as (detector, bridge):
            detector.deaf = True
            for _ in range(3):
                async with client(bridge.url) as browser:
                    for _ in range(70):
                        await browser.send_frame(bytes(10_000))
                    await until(
                        lambda: any(each._received == 70 for each in bridge.server._sessions)
                    )
                    browser.websocket.transport.abort()
                await until(lambda: sessions(bridge.server) == 0)
            await until(
                lambda: not alive(Answers, ClientWriter, DetectorStream, Entry, FrameQueue, Session)
            )
            assert sessions(bridge.server) == 0
    finally:
        gc.enable()


def alive(*kinds: type) -> int:
    """Return how many objects of these types there are."""
    return sum(type(each) in kinds for each in gc.get_objects())


async def test_a_drain_answers_what_is_under_way() -> None:
    """Then closes with 1001; nobody new is let in meanwhile."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.gate.clear()
        await browser.send_frame(frame_id="1")
        await until(lambda: detector.frames)
        await browser.send_frame(frame_id="2")
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 2)
        server = bridge.server._server
        assert server is not None
        draining = asyncio.create_task(bridge.server.drain())
        await until(lambda: not server.is_serving())
        with pytest.raises(OSError):  # noqa: PT011 - refused
            async with client(bridge.url):
                pass
        detector.gate.set()
        assert (await browser.result())["frame"]["frame_id"] == "1"
        assert (await browser.result())["frame"]["frame_id"] == "2"
        assert await browser.closed() == 1001
        await draining


async def test_a_drain_does_not_wait_for_a_detector_that_is_gone() -> None:
    """Nor for idle clients."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await detector.stop()
        await browser.send_frame()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        async with client(bridge.url) as idle, asyncio.timeout(10):
            await bridge.server.drain()
            assert await idle.closed() == 1001
        assert await browser.closed() == 1001


async def test_a_drain_is_cut_off() -> None:
    """After DRAIN_TIMEOUT, where a detector does not answer."""
    async with (
        fake_and_bridge(drain_timeout=0.3) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        detector.gate.clear()
        await browser.send_frame()
        await until(lambda: detector.frames)
        await bridge.server.drain()
        with pytest.raises(ConnectionClosed):
            await browser.result()
        detector.gate.set()
