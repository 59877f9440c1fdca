"""What a connection's messages look like, by the subprotocol it negotiated; no I/O.

All of them get the bridge's own events as JSON text. They differ in what a client sends, and in how a frame's
answer is told: docs/bridge.md gives the layouts.
"""

import binascii
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias

import pybase64
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError

from bridge import events, json_text, translation, wire
from bridge.errors import ErrorCode, Refused
from bridge.frame_queue import Message
from bridge.wire import WireFrame

JSON: Final = "crowd-detector.v1.json"
JSON_BINARY: Final = "crowd-detector.v1.json-binary"
PROTOBUF: Final = "crowd-detector.v1.protobuf"

_LENGTH_BYTES: Final = 4
_MAX_HEADER_BYTES: Final = 64 * 1024
_LONGEST_PREFIX: Final = 256  # of a data: URL, up to its comma


class IncomingFrame(NamedTuple):
    """A frame to look at.

    Attributes:
        frame: for the detector.
        timestamp: the client's own, as sent.
    """

    frame: WireFrame
    timestamp: events.Number | None


Incoming: TypeAlias = (
    IncomingFrame
    | pb.StreamConfig
    | events.SubscribeAlerts
    | events.UnsubscribeAlerts
    | events.Authenticate
)


class WireProtocol(Protocol):
    """How a connection's messages are read and written."""

    def decode(self, message: str | bytes) -> Incoming:
        """Read a client's message.

        Raises:
            Refused: it is not acceptable.
        """

    def is_frame(self, message: str | bytes) -> bool:
        """Return whether a message is a frame, as far as can be told without decoding it."""

    def answer(
        self,
        response: pb.StreamDetectionsResponse,
        sequence: int,
        timestamp: events.Number | None,
        drops: Mapping[str, int],
    ) -> Message:
        """Return what became of a frame.

        Args:
            response: the detector's; it may be changed.
            sequence: the number of the client's message.
            timestamp: as the client sent it.
            drops: to be told with it, by reason.
        """

    def configured(self, config: pb.StreamConfig) -> Message:
        """Return that a configuration was taken."""


class JsonProtocol:
    """Events as JSON text, images in base64: what the prototype spoke."""

    def decode(self, message: str | bytes) -> Incoming:
        """Read a client's message."""
        if isinstance(message, bytes):
            raise Refused(
                ErrorCode.INVALID_MESSAGE,
                "this connection speaks JSON in text messages, and this one is binary; send text, or "
                f"negotiate the subprotocol {JSON_BINARY} or {PROTOBUF}",
            )
        request, image = json_text.decode_request_with_image(message)
        if isinstance(request, events.ProcessFrame):
            data = request.data
            try:
                decoded = decode_image(image)
            except Refused as refused:
                refused.context = translation.context_of(data)
                raise
            return IncomingFrame(translation.to_frame(data, decoded), data.timestamp)
        return _translated(request)

    def is_frame(self, message: str | bytes) -> bool:
        """Return whether a message is a frame."""
        return isinstance(message, str) and json_text.is_frame(message)

    def answer(
        self,
        response: pb.StreamDetectionsResponse,
        sequence: int,
        timestamp: events.Number | None,
        drops: Mapping[str, int],
    ) -> Message:
        """Return what became of a frame."""
        event: events.Event
        if response.HasField("result"):
            result = response.result
            echo = translation.to_echo(result.frame, sequence, timestamp)
            event = translation.to_result(result, echo, dict(drops))
        else:
            echo = translation.to_echo(response.error.frame, sequence, timestamp)
            event = translation.to_error(response.error, echo, dict(drops))
        return event_message(event)

    def configured(self, config: pb.StreamConfig) -> Message:
        """Return that a configuration was taken."""
        return event_message(translation.to_configured(config))


class JsonBinaryProtocol(JsonProtocol):
    """Four bytes of length, a JSON header of that length, and the image as it is; answers as in JSON."""

    def decode(self, message: str | bytes) -> Incoming:
        """Read a client's message."""
        header, image = split(_binary(message, JSON_BINARY))
        request = json_text.decode_header_request(header)
        if isinstance(request, events.ProcessFrameHeader):
            data = request.data
            return IncomingFrame(translation.to_frame(data, image), data.timestamp)
        if image:
            raise Refused(
                ErrorCode.INVALID_MESSAGE,
                f"{len(image)} bytes follow the header of an event that brings no image; is the "
                "header's length right?",
            )
        return _translated(request)

    def is_frame(self, message: str | bytes) -> bool:
        """Return whether a message is a frame."""
        try:
            header, _ = split(_binary(message, JSON_BINARY))
        except Refused:
            return False
        return json_text.is_frame(header)


class ProtobufProtocol:
    """The messages of crowd.detector.v1 themselves: StreamDetectionsRequest in, StreamDetectionsResponse out."""

    def decode(self, message: str | bytes) -> Incoming:
        """Read a client's message."""
        message = _binary(message, PROTOBUF)
        if frame := wire.split(message):
            return IncomingFrame(frame, None)
        try:
            request = pb.StreamDetectionsRequest.FromString(message)
        except DecodeError as error:
            raise Refused(
                ErrorCode.INVALID_MESSAGE,
                "the message is no crowd.detector.v1.StreamDetectionsRequest; is the client's contract "
                "crowd.detector.v1?",
                str(error),
            ) from error
        match request.WhichOneof("message"):
            case "frame":
                return IncomingFrame(wire.whole(message, request.frame), None)
            case "config":
                translation.check_config(request.config)
                return request.config
            case _:
                raise Refused(
                    ErrorCode.INVALID_MESSAGE, "the message is empty; set a frame or a config"
                )

    def is_frame(self, message: str | bytes) -> bool:
        """Return whether a message is a frame."""
        try:
            request = pb.StreamDetectionsRequest.FromString(_binary(message, PROTOBUF))
        except (DecodeError, Refused):
            return False
        return request.HasField("frame")

    def answer(
        self,
        response: pb.StreamDetectionsResponse,
        sequence: int,
        timestamp: events.Number | None,
        drops: Mapping[str, int],
    ) -> Message:
        """Return what became of a frame; its time is in the message already."""
        del timestamp
        (
            response.result if response.HasField("result") else response.error
        ).frame.sequence = sequence
        del response.drops[:]
        response.drops.extend(translation.drop_counts(drops))
        return Message(response.SerializeToString(), text=False)

    def configured(self, config: pb.StreamConfig) -> Message:
        """Return that a configuration was taken."""
        return Message(
            pb.StreamDetectionsResponse(configured=config).SerializeToString(), text=False
        )


PROTOCOLS: Final[Mapping[str, WireProtocol]] = {
    JSON: JsonProtocol(),
    JSON_BINARY: JsonBinaryProtocol(),
    PROTOBUF: ProtobufProtocol(),
}


def event_message(event: events.Event) -> Message:
    """Return an event as it is sent, whatever the protocol."""
    return Message(json_text.encode(event), text=True)


def decode_image(text: str) -> bytes:
    """Return the bytes of an image in base64 (RFC 4648, section 4), with or without a data: URL prefix.

    Raises:
        Refused: INVALID_FRAME.
    """
    if text.startswith("data:"):
        comma = text.find(",", 0, _LONGEST_PREFIX)
        if comma < 0 or not text[:comma].lower().endswith(";base64"):
            raise Refused(
                ErrorCode.INVALID_FRAME,
                "data.frame begins as a data: URL, and is none with base64; send "
                "data:image/jpeg;base64,... or the base64 alone",
            )
        text = text[comma + 1 :]
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(
            ErrorCode.INVALID_FRAME,
            "data.frame is not base64; encode the image's bytes with the standard alphabet and padding",
            str(error),
        ) from error


def split(message: bytes) -> tuple[memoryview, memoryview]:
    """Return the header and what follows it, of the layout: length (4 bytes, big-endian), header, image.

    Raises:
        Refused: the message is shorter than it says, or the header too long.
    """
    view = memoryview(message)
    if len(view) < _LENGTH_BYTES:
        raise Refused(
            ErrorCode.INVALID_MESSAGE,
            f"the message has {len(view)} bytes; it must begin with the header's length in "
            f"{_LENGTH_BYTES} bytes, big-endian",
        )
    length = int.from_bytes(view[:_LENGTH_BYTES], "big")
    end = _LENGTH_BYTES + length
    if length > _MAX_HEADER_BYTES or end > len(view):
        raise Refused(
            ErrorCode.INVALID_MESSAGE,
            f"the message says that its header has {length} bytes; {len(view) - _LENGTH_BYTES} follow, and at "
            f"most {_MAX_HEADER_BYTES} are accepted. Is the length big-endian?",
        )
    return view[_LENGTH_BYTES:end], view[end:]


def _binary(message: str | bytes, protocol: str) -> bytes:
    if isinstance(message, str):
        raise Refused(
            ErrorCode.INVALID_MESSAGE,
            f"this connection speaks {protocol} in binary messages, and this one is text; send binary, or "
            f"negotiate the subprotocol {JSON}",
        )
    return message


def _translated(
    request: events.Configure
    | events.SubscribeAlerts
    | events.UnsubscribeAlerts
    | events.Authenticate
    | events.ProcessFrame
    | events.ProcessFrameHeader,
) -> Incoming:
    assert not isinstance(request, events.ProcessFrame | events.ProcessFrameHeader)
    return translation.to_config(request.data) if isinstance(request, events.Configure) else request
