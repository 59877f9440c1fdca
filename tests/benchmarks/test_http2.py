"""The lean gRPC client of the load generator: its HTTP/2 alone, and against real servers."""

import asyncio
import json
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import http2, transports
from benchmarks.grpc_calls import Connection
from benchmarks.http2 import Ended, Event, Http2Error, Session
from tests.conftest import ROOT

_MIB = 1024 * 1024
_SERVICE = "crowd.detector.v1.DetectorService"
_STREAM = f"/{_SERVICE}/StreamDetections"
_DETECT = f"/{_SERVICE}/Detect"
_SETTINGS, _ACK = 4, 1

# ---------------------------------------------------------------- the part without I/O


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _settings(**of: int) -> bytes:
    names = {"most_streams": 3, "window": 4, "frame": 5}
    payload = b"".join(struct.pack(">HI", names[name], value) for name, value in of.items())
    return _frame(_SETTINGS, 0, 0, payload)


def _session(calls: int = 2) -> Session:
    session = Session()
    for _ in range(calls):
        session.open(http2.request(_STREAM, "localhost"))
    return session


def _told(session: Session, *parts: bytes) -> tuple[list[Event], str]:
    """Return what bytes tell, and what the error says that ends it."""
    events: list[Event] = []
    for part in parts:
        try:
            events.extend(session.receive(part))
        except Http2Error as error:
            return events, str(error)
    return events, ""


@st.composite
def _padded(draw: st.DrawFn, kind: int, flags: int, payload: bytes) -> bytes:
    stream = draw(st.sampled_from((1, 3)))
    padding = draw(st.none() | st.integers(0, 255))
    if padding is None:
        return _frame(kind, flags, stream, payload)
    return _frame(kind, flags | 8, stream, bytes([padding]) + payload + bytes(padding))


@st.composite
def _data_frames(draw: st.DrawFn) -> bytes:
    bodies = draw(st.lists(st.binary(max_size=40), max_size=3))
    whole = b"".join(map(http2.message, bodies))
    return draw(_padded(0, draw(st.sampled_from((0, 0, 0, 1))), whole))


_FRAMES = st.one_of(
    _data_frames(),
    _padded(1, 4, b"\x88"),
    _padded(1, 5, b"\0\x0bgrpc-status\x010"),
    st.builds(lambda data: _frame(6, 0, 0, data), st.binary(min_size=8, max_size=8)),
    st.builds(lambda value: _settings(window=value), st.integers(0, 2**31)),
    st.builds(
        lambda stream, value: _frame(8, 0, stream, value.to_bytes(4)),
        st.sampled_from((0, 1, 3, 5)),
        st.integers(0, 2**31 - 1),
    ),
    st.builds(
        _frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from((0, 1, 2, 3, 5)),
        st.binary(max_size=30),
    ),
)


@given(st.lists(_FRAMES, max_size=12), st.data())
def test_any_split_of_the_bytes_tells_the_same(frames: list[bytes], data: st.DataObject) -> None:
    """How the kernel cuts what the server sends changes neither events, replies nor errors."""
    sent = _settings() + b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=20)))
    parts = [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    whole, split = _session(), _session()
    assert _told(split, *parts) == _told(whole, sent)
    assert split.replies() == whole.replies()


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_garbage_gives_events_or_the_one_error(parts: list[bytes], greeted: bool) -> None:
    """Whatever comes, nothing but Http2Error is raised, and no event is of a call not begun."""
    events, _ = _told(_session(), _settings() if greeted else b"", *parts)
    assert {event.stream for event in events} <= {1, 3}


@given(st.binary(max_size=300))
def test_any_end_of_a_call_is_told(block: bytes) -> None:
    """A call's last header block ends it, whether it can be read or not."""
    session = _session()
    frames = _settings() + _frame(1, 1, 1, block[:100]) + _frame(9, 4, 1, block[100:])
    [event], error = _told(session, frames)
    assert isinstance(event, Ended)
    assert event.stream == 1
    assert error == ""


@given(st.lists(st.binary(max_size=3000), max_size=8), st.integers(1, 500), st.integers(0, 20))
def test_messages_are_whole_however_they_are_framed(
    bodies: list[bytes], size: int, padding: int
) -> None:
    """Several in a frame, one over several, padded or not."""
    sent = b"".join(map(http2.message, bodies))
    session = _session()
    frames = [
        _frame(0, 8, 1, bytes([padding]) + sent[at : at + size] + bytes(padding))
        for at in range(0, len(sent), size)
    ]
    events, error = _told(session, _settings(), *frames)
    assert [event.data for event in events if isinstance(event, http2.Message)] == bodies
    assert error == ""


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from((1, 3)), st.integers(1, 100_000)),
        st.tuples(st.just("more"), st.sampled_from((0, 1, 3)), st.integers(1, 100_000)),
        st.tuples(st.just("window"), st.just(0), st.integers(0, 200_000)),
        st.tuples(st.just("frame"), st.just(0), st.integers(16_384, 40_000)),
    ),
    max_size=30,
)


@given(_STEPS)
def test_what_is_sent_is_what_the_windows_allow(steps: list[tuple[str, int, int]]) -> None:
    """As much as both windows allow and no more, also where new settings make one negative."""
    session = _session()
    assert _told(session, _settings()) == ([], "")
    whole, initial, biggest = 65_535, 65_535, 16_384
    windows = {1: initial, 3: initial}
    for what, stream, value in steps:
        if what == "send":
            pieces, taken = session.data(stream, memoryview(bytes(value)), last=True)
            assert taken == max(min(whole, windows[stream], value), 0)
            assert sum(map(len, pieces[1::2])) == taken
            assert all(len(piece) <= biggest for piece in pieces[1::2])
            ends = [bytes(head)[4] & 1 for head in pieces[::2]]
            assert sum(ends) == (ends[-1] if ends else 0) == (taken == value)
            whole -= taken
            windows[stream] -= taken
        elif what == "more":
            assert _told(session, _frame(8, 0, stream, value.to_bytes(4))) == ([], "")
            whole += value * (stream == 0)
            windows = {of: window + value * (of == stream) for of, window in windows.items()}
        elif what == "window":
            assert _told(session, _settings(window=value)) == ([], "")
            windows = {of: window + value - initial for of, window in windows.items()}
            initial = value
        else:
            assert _told(session, _settings(frame=value)) == ([], "")
            biggest = value


def test_windows_are_filled_up_as_they_are_used() -> None:
    """Answers of more than a window's 2 GiB find room, as each byte taken is given back."""
    session = _session()
    _told(session, _settings())
    session.replies()
    body = http2.message(bytes(16_000))
    given_back = {0: 0, 1: 0}
    for _ in range(1000):
        _told(session, _frame(0, 0, 1, body))
        replies = session.replies()
        for at in range(0, len(replies), 13):
            _, kind, stream, more = struct.unpack_from(">3sBxII", replies, at)
            assert kind == 8
            given_back[stream] += more
    for of in (0, 1):
        assert 0 <= 1000 * len(body) - given_back[of] < _MIB + len(body)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak HTTP/2.*HTTP/1.1 400"),
        (_frame(6, 0, 0, bytes(8)), "first frame is not SETTINGS"),
        (
            _settings() + _frame(7, 0, 0, struct.pack(">II", 0, 11) + b"calm"),
            "ENHANCE_YOUR_CALM calm",
        ),
        (_settings() + _frame(0, 0, 1, b"\1\0\0\0\0"), "no plain gRPC message"),
        (_settings() + _frame(8, 0, 0, (2**31 - 1).to_bytes(4)), "opened a window to"),
        (_settings() + _frame(0, 0, 7, b""), "stream 7"),
    ],
)
def test_what_ends_a_connection_is_named(sent: bytes, said: str) -> None:
    """What the server did stands in the error."""
    with pytest.raises(Http2Error, match=said):
        list(_session().receive(sent))


def test_a_call_that_is_reset_ends_alone() -> None:
    """The connection's other calls go on."""
    reset = _frame(3, 0, 1, (7).to_bytes(4))
    answer = _frame(0, 0, 3, http2.message(b"yes"))
    assert _told(_session(), _settings() + reset + answer) == (
        [Ended(1, False, "the server reset it: REFUSED_STREAM"), http2.Message(3, b"yes")],
        "",
    )


# ---------------------------------------------------------------- against real servers


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)


@asynccontextmanager
async def _served(
    method: str, handler: Any, *options: tuple[str, int]
) -> AsyncIterator[tuple[str, Any]]:
    """Serve a handler of bytes; give the address, and the server."""
    of = (
        grpc.stream_stream_rpc_method_handler
        if method == _STREAM
        else grpc.unary_unary_rpc_method_handler
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), *options])
    handlers: dict[str, Any] = {method.rpartition("/")[2]: of(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(0)


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[Connection]:
    connection = await Connection.connect(address)
    try:
        yield connection
    finally:
        connection.close()


async def _echo(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


async def test_large_messages_come_back_as_they_went() -> None:
    """Five megabytes pass the windows of both sides, many times."""
    bodies = [bytes([number]) * (5 * _MIB + number) for number in range(8)]
    async with _served(_STREAM, _echo) as (address, _), _connected(address) as connection:
        call = connection.call(_STREAM)

        async def send() -> None:
            for body in bodies:
                await call.send(http2.message(body))

        sending = asyncio.create_task(send())
        assert [await call.receive() for _ in bodies] == bodies
        await sending


async def test_a_server_that_does_not_read_blocks_who_sends() -> None:
    """No more than a message waits here, and once the server reads all go through."""
    reads = asyncio.Event()

    async def late(request: Any, context: Any) -> None:
        await reads.wait()
        await _echo(request, context)

    body = http2.message(bytes(_MIB))
    async with _served(_STREAM, late) as (address, _), _connected(address) as connection:
        call = connection.call(_STREAM)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(64):
                await call.send(body)
                sent += 1

        sending = asyncio.create_task(send())
        await _until(lambda: connection.waits)
        async with _connected(address) as other:  # the server has had its turn when this is there
            await _until(lambda: connection.waits)
            assert other.unsent == 0
        assert sent < 32
        assert connection.unsent <= len(body)
        reads.set()
        for _ in range(64):
            assert len(await call.receive()) == _MIB
        await sending


async def test_a_status_ends_sending_and_receiving_and_is_named() -> None:
    """The error has the status and its text, whatever letters are in it."""

    async def refuse(_: Any, context: Any) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such frame: größer, 100 %")

    async with _served(_STREAM, refuse) as (address, _):
        connection = await transports.open_connection(
            "stream", address, [http2.message(b"x")], 0, 1
        )
        await connection.send()
        with pytest.raises(transports.TransportError, match=r"INVALID_ARGUMENT.*größer, 100 %"):
            await connection.receive()
        with pytest.raises(transports.TransportError, match="INVALID_ARGUMENT"):
            await connection.send()
        await connection.close()


async def test_a_status_ends_a_message_that_waits_for_room() -> None:
    """Who sends is not left waiting for a window that will never open."""
    asked = asyncio.Event()

    async def refuse(_: Any, context: Any) -> None:
        await asked.wait()
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    async with _served(_STREAM, refuse) as (address, _), _connected(address) as connection:
        call = connection.call(_STREAM)
        sending = asyncio.create_task(call.send(http2.message(bytes(64 * _MIB))))
        await _until(lambda: connection.waits)
        asked.set()
        with pytest.raises(Http2Error, match="RESOURCE_EXHAUSTED full"):
            await sending
        with pytest.raises(Http2Error, match="UNIMPLEMENTED"):  # the connection is still of use
            other = connection.call("/no.such/Call")
            await other.send(http2.message(b"x"))
            await other.receive()


async def test_calls_of_one_connection_get_their_own_answers() -> None:
    """Many are under way at once, and end in an order of the server's."""

    async def answer(request: bytes, _: Any) -> bytes:
        for _ in range(request[0] % 7):
            await asyncio.sleep(0)
        return request

    async with _served(_DETECT, answer) as (address, _), _connected(address) as connection:

        async def ask(number: int) -> bytes:
            call = connection.call(_DETECT)
            await call.send(http2.message(bytes([number]) * 200_000), last=True)
            return await call.only_answer()

        for _ in range(5):
            answers = await asyncio.gather(*map(ask, range(32)))
            assert answers == [bytes([number]) * 200_000 for number in range(32)]


async def test_a_refused_frame_is_an_error_of_its_call() -> None:
    """Where each frame is a call, the status of one is what `receive` raises."""

    async def refuse(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no frame")

    async with _served(_DETECT, refuse) as (address, _):
        connection = await transports.open_connection("unary", address, [http2.message(b"x")], 0, 2)
        await connection.send()
        with pytest.raises(transports.TransportError, match="INVALID_ARGUMENT no frame"):
            await connection.receive()
        await connection.close()


async def test_more_calls_than_the_server_allows_are_refused_here() -> None:
    """The error names the setting."""
    async with (
        _served(_STREAM, _echo, ("grpc.max_concurrent_streams", 1)) as (address, _),
        _connected(address) as connection,
    ):
        connection.call(_STREAM)
        with pytest.raises(Http2Error, match=r"1 calls at once.*MAX_CONCURRENT_STREAMS"):
            connection.call(_STREAM)


async def test_a_server_that_stops_says_so() -> None:
    """Its goodbye, or the end of the call or the connection, reaches who waits for an answer."""
    async with _served(_STREAM, _echo) as (address, server), _connected(address) as connection:
        call = connection.call(_STREAM)
        await call.send(http2.message(b"x"))
        assert await call.receive() == b"x"
        await server.stop(0)
        with pytest.raises(Http2Error, match="the server"):
            await call.receive()


@pytest.mark.parametrize("transport", ["stream", "unary"])
async def test_a_server_that_is_killed_is_an_error(transport: str) -> None:
    """Both who sends and who receives are told, on either transport."""
    fake = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.fake_detector",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/clients/python:{ROOT}/protos"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert fake.stderr is not None
        address = json.loads(await fake.stderr.readline())["address"]
        prepared = transports.messages(transport, [bytes(150_000)])
        connection = await transports.open_connection(transport, address, prepared, 0, 2)
        for index in range(20):
            await connection.send()
            assert await connection.receive() == transports.Answer(index, 10)
    finally:
        fake.send_signal(signal.SIGKILL)
        await fake.wait()
    with pytest.raises(transports.TransportError, match="connection"):
        for _ in range(20):
            await connection.send()
            await connection.receive()
    await connection.close()
    with pytest.raises(transports.TransportError, match=address):
        await transports.open_connection(transport, address, prepared, 0, 1)


async def test_a_server_that_speaks_something_else_is_refused() -> None:
    """Who connects is told what the server said."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 505 Version Not Supported\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    with pytest.raises(transports.TransportError, match=r"does not speak HTTP/2.*505"):
        await transports.open_connection("stream", f"{host}:{port}", [], 0, 1)
    server.close()
    await server.wait_closed()
