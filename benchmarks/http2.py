"""HTTP/2 as a client's side of gRPC sees it: bytes in, events out; no I/O (RFC 9113).

Only what the load generator needs: no encryption, no priorities, no pushes. Header fields are sent
as literals, and of those received only an end's are read (RFC 7541).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

import grpc

#: The biggest window, and the biggest number of a stream (5.1.1, 6.9.1).
MOST: Final = 2**31 - 1

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD: Final = struct.Struct(">BHBBI")
_PREFIX: Final = struct.Struct(">BI")
_SETTING: Final = struct.Struct(">HI")

_DATA: Final = 0
_HEADERS: Final = 1
_RST_STREAM: Final = 3
_SETTINGS: Final = 4
_PING: Final = 6
_WINDOW_UPDATE: Final = 8
_CONTINUATION: Final = 9
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_WITH_PRIORITY: Final = 0x20

_HEADER_TABLE_SIZE: Final = 1
_ENABLE_PUSH: Final = 2
_MAX_CONCURRENT_STREAMS: Final = 3
_INITIAL_WINDOW_SIZE: Final = 4
_MAX_FRAME_SIZE: Final = 5

#: What holds until a side says otherwise (6.5.2, 6.9.2).
_FRAME: Final = 16_384
_BIGGEST_FRAME: Final = 2**24 - 1
_WINDOW: Final = 65_535
#: Bytes taken after which a window is filled up again, so that the server never waits for it.
_REPLENISH: Final = 2**20
_MOST_HEADERS: Final = 64 * 1024
_MOST_ANSWER: Final = 64 * 1024 * 1024
_CANCEL: Final = 8
_ERRORS: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)  # section 7
_STATUSES: Final = {str(code.value[0]).encode(): code.name for code in grpc.StatusCode}

Piece = bytes | memoryview


class Http2Error(Exception):
    """The server ended a call or the connection, or does not speak HTTP/2."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole gRPC message arrived."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended a call.

    Attributes:
        stream: the call's.
        fine: whether its status is OK.
        why: what the server said.
    """

    stream: int
    fine: bool
    why: str


Event = Message | Ended


@dataclass(slots=True)
class _Stream:
    window: int
    taken: int = 0
    gathered: bytearray = field(default_factory=bytearray)


class Session:
    """One connection's state: streams, windows, and what is to be said in reply."""

    def __init__(self) -> None:
        self.greeted = False  #: whether the server's first settings have come (3.4)
        self._streams: Final[dict[int, _Stream]] = {}
        self._next = 1
        self._window = _WINDOW
        self._initial_window = _WINDOW
        self._frame = _FRAME
        self._most_streams = MOST
        self._taken = 0
        self._received: Final = bytearray()
        self._block: tuple[int, int, bytearray] | None = None
        settings = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, MOST))
        self._replies: Final = bytearray(_PREFACE)
        self._reply(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in settings))
        self._reply(_WINDOW_UPDATE, 0, 0, (MOST - _WINDOW).to_bytes(4))

    def replies(self) -> bytes:
        """Return what is to be sent before all else, once; at first the preface (3.4)."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    def open(self, headers: bytes) -> int:
        """Begin a call; return its stream.

        Args:
            headers: as `request` gives them.

        Raises:
            Http2Error: the server allows no more of them at once.
        """
        if len(self._streams) >= self._most_streams:
            raise Http2Error(
                f"the server allows {self._most_streams} calls at once on a connection "
                "(SETTINGS_MAX_CONCURRENT_STREAMS), and one more was begun"
            )
        stream = self._next
        if stream > MOST:
            raise Http2Error("the connection has no more streams; connect again")
        self._next += 2
        self._streams[stream] = _Stream(self._initial_window)
        self._reply(_HEADERS, _END_HEADERS, stream, headers)
        return stream

    def data(self, stream: int, rest: memoryview, *, last: bool) -> tuple[list[Piece], int]:
        """Cut off what the windows allow of a message (6.1, 6.9).

        Args:
            stream: of a call that has not ended.
            rest: what is left of the message.
            last: whether the call's messages end with this one.

        Returns:
            What to send, the message's bytes not copied, and how many of them are in it.
        """
        state = self._streams[stream]
        room = min(self._window, state.window, len(rest))
        if room <= 0:
            return [], 0
        self._window -= room
        state.window -= room
        pieces: list[Piece] = []
        for begin in range(0, room, self._frame):
            size = min(self._frame, room - begin)
            ends = last and begin + size == len(rest)
            pieces.append(_head(size, _DATA, _END_STREAM if ends else 0, stream))
            pieces.append(rest[begin : begin + size])
        return pieces, room

    def reset(self, stream: int) -> None:
        """Give up a call of which not all was sent (6.4)."""
        self._streams.pop(stream, None)
        self._reply(_RST_STREAM, 0, stream, _CANCEL.to_bytes(4))

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes in; yield what they tell.

        Raises:
            Http2Error: the connection is of no more use; what came before was yielded.
        """
        received = self._received
        received += data
        at = 0
        try:
            while len(received) - at >= _HEAD.size:
                high, low, kind, flags, stream = _HEAD.unpack_from(received, at)
                size = high << 16 | low
                if size > _FRAME:
                    raise Http2Error(
                        f"the server does not speak HTTP/2: a frame of {size} bytes, "
                        f"beginning {bytes(received[at : at + 40])!r}"
                    )
                begin = at + _HEAD.size
                if len(received) < begin + size:
                    break
                at = begin + size
                yield from self._take(kind, flags, stream & MOST, bytes(received[begin:at]))
        finally:
            del received[:at]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> Sequence[Event]:
        if not self.greeted and kind != _SETTINGS:
            raise Http2Error("the server's first frame is not SETTINGS (3.4)")
        if (self._block is None) == (kind == _CONTINUATION):
            raise Http2Error("the server broke a header block apart (6.10)")
        match kind:
            case 0:  # DATA
                return self._take_data(flags, stream, payload)
            case 1 | 9:  # HEADERS, CONTINUATION
                return self._take_headers(flags, stream, payload)
            case 3:  # RST_STREAM (6.4)
                return self._end(stream, f"reset it: {_error(_number(payload, 4))}")
        self._take_control(kind, flags, stream, payload)
        return ()

    def _take_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """What tells nothing of a call; frames of kinds unknown are passed over (5.5)."""
        match kind:
            case 4:  # SETTINGS
                self._take_settings(flags, stream, payload)
            case 5:  # PUSH_PROMISE
                raise Http2Error("the server pushes, which was forbidden (8.4)")
            case 6:  # PING (6.7)
                _number(payload, 8)
                if not flags & _ACK:
                    self._reply(_PING, _ACK, 0, payload)
            case 7:  # GOAWAY
                raise Http2Error(_goodbye(payload))
            case 8:  # WINDOW_UPDATE
                self._take_window(stream, _number(payload, 4) & MOST)

    def _take_data(self, flags: int, stream: int, payload: bytes) -> Sequence[Event]:
        """Section 6.1; all of a frame counts against the windows (6.9.1)."""
        state = self._known(stream)
        self._taken += len(payload)
        if self._taken >= _REPLENISH:
            self._reply(_WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4))
            self._taken = 0
        if state is None:
            return ()
        state.taken += len(payload)
        if state.taken >= _REPLENISH:
            self._reply(_WINDOW_UPDATE, 0, stream, state.taken.to_bytes(4))
            state.taken = 0
        state.gathered += _unpadded(flags, payload)
        events: list[Event] = [Message(stream, each) for each in _messages(state.gathered)]
        if flags & _END_STREAM:
            events += self._end(stream, "ended it without a status")
        return events

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> Sequence[Event]:
        """Sections 6.2 and 6.10."""
        self._known(stream)
        if self._block is None:
            payload = _unpadded(flags, payload)
            if flags & _WITH_PRIORITY:
                payload = payload[5:]
            self._block = stream, flags, bytearray()
        of, first_flags, block = self._block
        block += payload
        if of != stream or len(block) > _MOST_HEADERS:
            raise Http2Error("the server broke a header block apart (6.10), or it is too long")
        if not flags & _END_HEADERS:
            return ()
        self._block = None
        if not first_flags & _END_STREAM:
            return ()
        why, fine = _status(bytes(block))
        return self._end(stream, why, fine=fine)

    def _take_settings(self, flags: int, stream: int, payload: bytes) -> None:
        """Section 6.5; a change of the initial window moves the streams' windows too (6.9.2)."""
        if stream or len(payload) % _SETTING.size or (flags & _ACK and payload):
            raise Http2Error("the server's SETTINGS are malformed (6.5)")
        if flags & _ACK and self.greeted:
            return
        if flags & _ACK:
            raise Http2Error("the server's first frame is not SETTINGS (3.4)")
        self.greeted = True
        for name, value in _SETTING.iter_unpack(payload):
            if name == _MAX_CONCURRENT_STREAMS:
                self._most_streams = value
            elif name == _MAX_FRAME_SIZE:
                if not _FRAME <= value <= _BIGGEST_FRAME:
                    raise Http2Error(f"the server set a frame's size to {value} (6.5.2)")
                self._frame = value
            elif name == _INITIAL_WINDOW_SIZE:
                change = value - self._initial_window
                self._initial_window = value
                for state in self._streams.values():
                    state.window = _window(state.window + change)
                _window(value)
        self._reply(_SETTINGS, _ACK, 0, b"")

    def _take_window(self, stream: int, more: int) -> None:
        """Section 6.9."""
        if not more:
            raise Http2Error("the server opened a window by nothing (6.9)")
        if not stream:
            self._window = _window(self._window + more)
        elif (state := self._known(stream)) is not None:
            state.window = _window(state.window + more)

    def _known(self, stream: int) -> _Stream | None:
        """Return a stream, or None of one that has ended; others the server cannot speak of (5.1)."""
        if stream % 2 == 0 or stream >= self._next:
            raise Http2Error(f"the server speaks of stream {stream}, which was not opened (5.1)")
        return self._streams.get(stream)

    def _end(self, stream: int, why: str, *, fine: bool = False) -> Sequence[Event]:
        if self._known(stream) is None:
            return ()
        del self._streams[stream]
        return (Ended(stream, fine, f"the server {why}"),)

    def _reply(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._replies.extend(_head(len(payload), kind, flags, stream))
        self._replies.extend(payload)


def request(path: str, authority: str) -> bytes:
    """Return a call's header block: literals that enter no table (RFC 7541, 6.2.2)."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def message(body: bytes) -> bytes:
    """Return a gRPC message as it is sent: not compressed, its length before it."""
    return _PREFIX.pack(0, len(body)) + body


def _head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """Return what begins a frame (4.1)."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def _window(value: int) -> int:
    if value > MOST:
        raise Http2Error(f"the server opened a window to {value} bytes (6.9.1)")
    return value


def _number(payload: bytes, size: int) -> int:
    if len(payload) != size:
        raise Http2Error(f"the server sent {len(payload)} bytes where {size} belong (4.2)")
    return int.from_bytes(payload)


def _error(code: int) -> str:
    return _ERRORS[code] if code < len(_ERRORS) else f"error {code}"


def _goodbye(payload: bytes) -> str:
    """Return what a GOAWAY says (6.8)."""
    if len(payload) < 8:
        return "the server's GOAWAY is cut short (6.8)"
    said = payload[8:].decode("utf-8", "replace")
    return f"the server goes away: {_error(int.from_bytes(payload[4:8]))} {said}".rstrip()


def _unpadded(flags: int, payload: bytes) -> bytes:
    """Return a payload without what pads it (6.1)."""
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error("the server padded a frame with more than it holds (6.1)")
    return payload[1 : len(payload) - payload[0]]


def _messages(gathered: bytearray) -> list[bytes]:
    """Take the whole gRPC messages out of what has arrived."""
    found = []
    while len(gathered) >= _PREFIX.size:
        compressed, size = _PREFIX.unpack_from(gathered)
        if compressed or size > _MOST_ANSWER:
            raise Http2Error(
                f"the server sent no plain gRPC message: it begins {bytes(gathered[:40])!r}"
            )
        end = _PREFIX.size + size
        if len(gathered) < end:
            break
        found.append(bytes(gathered[_PREFIX.size : end]))
        del gathered[:end]
    return found


def _status(block: bytes) -> tuple[str, bool]:
    """Return what a call's last header block says of its end, and whether that is OK."""
    try:
        fields = _fields(block)
    except (IndexError, ValueError):
        fields = {}
    status = fields.get(b"grpc-status")
    if status is None:
        return f"ended it: {block[:300]!r}", False
    said = unquote_to_bytes(fields.get(b"grpc-message", b"")).decode("utf-8", "replace")
    named = _STATUSES.get(status, f"status {status.decode('latin-1')}")
    return f"ended it: {named} {said}".rstrip(), status == b"0"


def _fields(block: bytes) -> dict[bytes, bytes]:
    """Return a header block's fields that are plainly readable (RFC 7541, 6).

    The table is the static one alone, as its size was set to 0; Huffman's code is passed over.
    """
    fields = {}
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # a field of the table (6.1)
            _, at = _integer(block, at, 7)
        elif first & 0xE0 == 0x20:  # the table's size (6.3)
            _, at = _integer(block, at, 5)
        else:  # a literal (6.2)
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name: bytes | None = None
            if not index:
                name, at = _text(block, at)
            value, at = _text(block, at)
            if name is not None and value is not None:
                fields[name] = value
    return fields


def _text(block: bytes, at: int) -> tuple[bytes | None, int]:
    """Read a string (RFC 7541, 5.2); None if it is in Huffman's code."""
    coded = block[at] & 0x80
    size, at = _integer(block, at, 7)
    end = at + size
    if end > len(block):
        raise ValueError("a string is cut short")
    return (None if coded else block[at:end]), end


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Read an integer (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 29, 7):
        value += (block[at] & 0x7F) << shift
        at += 1
        if block[at - 1] < 0x80:
            return value, at
    raise ValueError("an integer is too long")


def _string(text: str) -> bytes:
    """Write a string, not in Huffman's code (RFC 7541, 5.2)."""
    size = len(text)
    if size < 0x7F:
        return bytes([size]) + text.encode("ascii")
    size -= 0x7F
    coded = bytearray([0x7F])
    while size >= 0x80:
        coded.append(size & 0x7F | 0x80)
        size >>= 7
    coded.append(size)
    return bytes(coded) + text.encode("ascii")
