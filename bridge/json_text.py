"""Events from and to JSON text, and what is said of text that is none."""

import re
from typing import Final

import msgspec
from msgspec import Struct

from bridge import events
from bridge.errors import ErrorCode, Refused

#: The years 1 to 9999, in milliseconds since the epoch; google.protobuf.Timestamp holds no others.
_EARLIEST: Final = -62_135_596_800_000
_LATEST: Final = 253_402_300_799_999


_LONGEST_CAUSE: Final = 200  # characters; it may repeat what was sent


class _Named(Struct, frozen=True):
    event: str


#: Where an image's base64 begins, in an event as every client writes it.
_IMAGE_BEGINS: Final = re.compile(r'"frame"\s*:\s*"')
#: Stands for an image that was taken out of its event.
_TAKEN_OUT: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
_FRAME: Final = events.ProcessFrame.__struct_config__.tag
#: What msgspec raises of text that it cannot read; UnicodeDecodeError where that comes as bytes.
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_named: Final = msgspec.json.Decoder(_Named)
_encode: Final = msgspec.json.Encoder().encode
_requests: Final[msgspec.json.Decoder[events.Request]] = msgspec.json.Decoder(events.Request)
_header_requests: Final[msgspec.json.Decoder[events.HeaderRequest]] = msgspec.json.Decoder(
    events.HeaderRequest
)


def encode(event: events.Event) -> bytes:
    """Return an event as JSON text in UTF-8."""
    return _encode(event)


def decode_request(text: str | bytes) -> events.Request:
    """Read a client's event of the JSON protocol.

    Raises:
        Refused: INVALID_MESSAGE or UNKNOWN_EVENT.
    """
    try:
        return _requests.decode(text)
    except _UNREADABLE as error:
        raise _refusal(text, error) from error


def decode_request_with_image(text: str) -> tuple[events.Request, str]:
    """Read a client's event of the JSON protocol, and the text of its image; empty where it brings none.

    The image is nearly all of an event, and base64 has nothing that JSON must escape. So its end is the next
    quote, which is found many times faster than a reader of JSON looks through a string; what is
    left is read as JSON, and says whether that was the image.

    Raises:
        Refused: INVALID_MESSAGE or UNKNOWN_EVENT.
    """
    if begins := _IMAGE_BEGINS.search(text):
        start = begins.end()
        end = text.find('"', start)
        image = text[start:end]
        if end >= 0 and "\\" not in image:
            try:
                request = _requests.decode(f"{text[:start]}{_TAKEN_OUT}{text[end:]}")
            except _UNREADABLE:
                pass  # said below, of the text as it came
            else:
                if isinstance(request, events.ProcessFrame) and request.data.frame == _TAKEN_OUT:
                    return request, image
    request = decode_request(text)
    return request, request.data.frame if isinstance(request, events.ProcessFrame) else ""


def decode_header_request(text: bytes | memoryview) -> events.HeaderRequest:
    """Read the header of a binary message.

    Raises:
        Refused: INVALID_MESSAGE or UNKNOWN_EVENT.
    """
    try:
        return _header_requests.decode(text)
    except _UNREADABLE as error:
        raise _refusal(text, error) from error


def is_frame(text: str | memoryview) -> bool:
    """Return whether text is a frame's event, as far as its name says; nothing else of it is read."""
    try:
        return _named.decode(text).event == _FRAME
    except _UNREADABLE:
        return False


def check_name(value: str, path: str) -> None:
    """Check the length of a name, which the contract limits in bytes.

    Raises:
        Refused: it is too long.
    """
    if len(value.encode()) > events.MAX_NAME_BYTES:
        raise Refused(
            ErrorCode.INVALID_MESSAGE,
            f"the message is not acceptable: {path} must be at most {events.MAX_NAME_BYTES} bytes of UTF-8",
        )


def check_timestamp(value: events.Number) -> None:
    """Check that a time can be told in the contract.

    Raises:
        Refused: it is before the year 1 or after 9999.
    """
    if not _EARLIEST <= value <= _LATEST:
        raise Refused(
            ErrorCode.INVALID_MESSAGE,
            "the message is not acceptable: data.timestamp must be milliseconds since the epoch, in "
            "the years 1 to 9999",
        )


def _refusal(text: str | bytes | memoryview, error: Exception) -> Refused:
    """Say what is wrong with a message, and what to do about it."""
    cause = str(error)[:_LONGEST_CAUSE]
    if isinstance(error, RecursionError):
        return Refused(ErrorCode.INVALID_MESSAGE, "the message is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return Refused(
            ErrorCode.INVALID_MESSAGE,
            'the message is not JSON; send an object with "event" and "data"',
            cause,
        )
    known = events.names(events.Request)
    try:
        name = _named.decode(text).event
    except _UNREADABLE:
        return Refused(
            ErrorCode.INVALID_MESSAGE,
            f'the message must be an object with "event", one of {", ".join(known)}',
            cause,
        )
    if name not in known:
        return Refused(
            ErrorCode.UNKNOWN_EVENT,
            f"there is no event {name[:80]!r}; send one of {', '.join(known)}",
        )
    hint = ""
    if "unknown field" in cause:
        hint = (
            "; this version knows camera, settings (confidence_threshold, crowd_threshold), "
            "max_frame_rate and buffer_frames"
        )
    return Refused(
        ErrorCode.INVALID_MESSAGE,
        f"the {name} message is not acceptable: {cause}{hint}",
        cause,
    )
