"""Frames in the wire format of protobuf, with their images neither copied nor looked through; no I/O.

A message object copies an image when it is set, again when it is serialised, and once more when it is read. So
what is said of a frame is a message object, and the image is put beside it by hand: a message's
fields may be serialised apart and strung together (protobuf.dev/programming-guides/encoding).
"""

from typing import Final, NamedTuple

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError

from telemetry.trace_context import TraceContext

_LENGTH_DELIMITED: Final = 2
_TAG_BITS: Final = 3
_VARINT_BITS: Final = 7
_MORE: Final = 1 << _VARINT_BITS
_LONGEST_VARINT: Final = 10  # bytes
#: Fields in front of a frame's image that are looked through here. There may be millions in a message that
#: somebody made for it; those are left to protobuf, which reads them a hundred times faster.
_MOST_FIELDS: Final = len(pb.Frame.DESCRIPTOR.fields)


def _tag(number: int) -> bytes:
    """Return what goes before a field's length; its number is below 16."""
    return bytes([number << _TAG_BITS | _LENGTH_DELIMITED])


_FRAME: Final = _tag(pb.StreamDetectionsRequest.FRAME_FIELD_NUMBER)
_IMAGE: Final = _tag(pb.Frame.ENCODED_FIELD_NUMBER)
_TRACESTATE: Final = _tag(pb.Frame.TRACESTATE_FIELD_NUMBER)

_NONE: Final = TraceContext()


class WireFrame(NamedTuple):
    """A frame on its way to the detector.

    Attributes:
        parts: of a serialised StreamDetectionsRequest, in their order; the image is one of them as it came.
        size: bytes of its image.
        context: the span that it says it belongs to.
    """

    parts: tuple[bytes | memoryview, ...]
    size: int
    context: TraceContext = _NONE

    def request(self, context: TraceContext | None = None) -> bytes:
        """Return what the detector is sent: the image is copied once, or not at all where the message came so.

        Args:
            context: a span that the frame belongs to, in place of the one that it says.
        """
        return b"".join(self.parts if context is None else (*self.parts, _belonging_to(context)))


def join(frame: pb.Frame, image: bytes | memoryview) -> WireFrame:
    """Return a frame with its image, an encoded one.

    Args:
        frame: what is said of it.
        image: what it shows.
    """
    said = frame.SerializeToString()
    before = _IMAGE + _varint(len(image))
    length = _varint(len(before) + len(image) + len(said))
    return WireFrame((_FRAME + length + before, image, said), len(image), _context(frame))


def split(message: bytes) -> WireFrame | None:
    """Return a frame with one encoded image; None where the message is anything else, or no message at all."""
    if message[:1] != _FRAME:
        return None
    try:
        length, at = _read_varint(message, 1)
        if at + length != len(message):
            return None
        begins, ends, size = _image(message, at)
        said = pb.Frame.FromString(message[at:begins] + message[ends:])
    except (DecodeError, ValueError):
        return None
    return None if said.WhichOneof("image") else WireFrame((message,), size, _context(said))


def whole(message: bytes, frame: pb.Frame) -> WireFrame:
    """Return a frame that was read as a message object, as any image may be."""
    size = len(frame.raw.data) if frame.HasField("raw") else len(frame.encoded)
    return WireFrame((message,), size, _context(frame))


def _belonging_to(context: TraceContext) -> bytes:
    """Return what is put behind a frame's request, so that the frame belongs to another span.

    A field that comes a second time counts, and of a message's field what comes the second time is merged into the
    first (protobuf.dev/programming-guides/encoding, "Last One Wins").
    """
    said = pb.Frame(traceparent=context.traceparent, tracestate=context.tracestate)
    written = said.SerializeToString()
    if not context.tracestate:  # nothing would be written for it, and the one that came would count
        written += _TRACESTATE + _varint(0)
    return _FRAME + _varint(len(written)) + written


def _context(frame: pb.Frame) -> TraceContext:
    return TraceContext(frame.traceparent, frame.tracestate) if frame.traceparent else _NONE


def _image(message: bytes, at: int) -> tuple[int, int, int]:
    """Return where the image's field begins and ends, and the image's bytes.

    Raises:
        ValueError: a field of another kind than are in front of it in a frame comes first, or too many do.
    """
    for _ in range(_MOST_FIELDS):
        tag = message[at : at + 1]
        if not tag or tag[0] & (_MORE | (1 << _TAG_BITS) - 1) != _LENGTH_DELIMITED:
            raise ValueError
        length, content = _read_varint(message, at + 1)
        if content + length > len(message):
            raise ValueError
        if tag == _IMAGE:
            return at, content + length, length
        at = content + length
    raise ValueError


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & (_MORE - 1) | _MORE)
        value >>= _VARINT_BITS
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where what follows it begins.

    Raises:
        ValueError: there is none.
    """
    value = shift = 0
    for byte in message[at : at + _LONGEST_VARINT]:
        at += 1
        value |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return value, at
        shift += _VARINT_BITS
    raise ValueError
