"""Clients that flood, never read, never send, lie or vanish: each within its bounds, and others unharmed."""

import asyncio
import base64
import contextlib
import gc
import json
import os
import socket
import ssl
from collections import Counter
from typing import Any

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from bridge import protocols
from bridge.detector_stream import DetectorStream
from bridge.frame_queue import Entry, FrameQueue
from bridge.server import BridgeServer
from bridge.session import Session
from tests.bridge.bridges import Authority, RunningBridge, bridging, client, fake_and_bridge
from tests.bridge.fake_detector import FakeDetector, result
from tests.servers import until

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
        assert session._drops["client_slow"] > 0
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
        while session._drops["client_slow"] < 5:
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
        await _ended(asyncio.get_running_loop(), sock)
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
            await _ended(asyncio.get_running_loop(), sock)
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
                await _ended(asyncio.get_running_loop(), sock)
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
        await _ended(asyncio.get_running_loop(), sock)
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
        ends = [asyncio.create_task(_ended(loop, sock)) for sock in socks]
        await until(lambda: sum(task.done() for task in ends) >= 11)
        assert connections(bridge) == most
        assert sum(task.done() for task in ends) == 11
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for sock in socks:
            sock.close()
        await until(lambda: connections(bridge) == 0)


def connections(bridge: RunningBridge) -> int:
    """Return how many TCP connections are open."""
    return bridge.server._acceptor._connection_limiter.count


async def _ended(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            await loop.sock_recv(sock, 1)


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
            await until(lambda: not alive(Entry, FrameQueue, Session, DetectorStream))
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
            await _ended(asyncio.get_running_loop(), sock)
        sock.close()
        assert connections(bridge) == 0
