"""What may be written of a value: no secrets, no images, nothing without bound, and nothing that is not JSON."""

import math
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import PurePath
from typing import Any, Final

from structlog.typing import EventDict

#: Words of a field's name, as in `auth_token`, whose values are confided.
_SECRETS: Final = frozenset(
    ("authorization", "bearer", "cookie", "credentials", "key", "password", "secret", "secrets")
) | {"token", "tokens"}
#: Words of a field's name whose values are content; numbers are not, so that one may say how many.
_CONTENT: Final = frozenset(("data", "encoded", "image", "images", "payload", "pixels"))
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
#: RFC 6750, section 2.1, also as the subprotocol `bearer.TOKEN` and in an address's query.
_BEARER: Final = re.compile(r"\b(bearer[ .]+|token=)[\w.~+/-]+=*", re.IGNORECASE)
#: A password in an address, as cameras and databases have it (RFC 3986, section 3.2.1).
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)[^/\s]+(?=@)")
#: Base64 in its two alphabets (RFC 4648), and hexadecimals; longer than digests and what has a name.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{100,}={0,2}|[A-Za-z0-9_-]{100,}={0,2}")

_MOST_CHARACTERS: Final = 1000  # of a line of text
_MOST_LINES: Final = 200
_MOST_ITEMS: Final = 100  # of a list or a mapping
_MOST_DEPTH: Final = 8
_MOST_BITS: Final = 128  # of a whole number; JSON's readers expect no more than 53
_REDACTED: Final = "<redacted>"
_FIRST: Final = ("timestamp", "level", "event")


def redact(_logger: object, _level: str, event: EventDict) -> EventDict:
    """Return an event as it may be written: see `redacted`; what all events have comes first."""
    ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
    clean: dict[str, Any] = redacted(ordered)
    return clean


def redacted(value: object, *, depth: int = 0) -> Any:
    """Return a value as numbers, texts, lists and mappings of bounded size.

    Bytes, arrays and messages are named by their type alone: a picture of theirs would be content.

    Args:
        value: anything.
        depth: lists and mappings around it.
    """
    clean: Any
    match value:
        case None | bool():
            clean = value
        case int() if value.bit_length() <= _MOST_BITS:
            clean = int(value)
        case float():
            clean = float(value) if math.isfinite(value) else str(value)
        case str() | PurePath() | BaseException():
            clean = _text(str(value))
        case Mapping() if depth < _MOST_DEPTH:
            items = [(_text(str(name)), item) for name, item in islice(value.items(), _MOST_ITEMS)]
            clean = {name: _field(name, item, depth + 1) for name, item in items}
        case list() | tuple() | set() | frozenset() if depth < _MOST_DEPTH:
            clean = [redacted(item, depth=depth + 1) for item in islice(value, _MOST_ITEMS)]
        case _:
            clean = f"<{type(value).__name__}>"
    return clean


def _field(name: str, value: object, depth: int) -> Any:
    words = {word.lower() for word in _WORDS.findall(name)}
    if value is not None and words & _SECRETS:
        return _REDACTED
    if words & _CONTENT and not isinstance(value, int | float | None):
        return _REDACTED
    return redacted(value, depth=depth)


def _text(text: str) -> str:
    lines = text.split("\n", _MOST_LINES)
    more = len(lines) > _MOST_LINES
    cut = [_line(line) for line in lines[:_MOST_LINES]]
    return "\n".join([*cut, "…"] if more else cut)


def _line(line: str) -> str:
    head = line[: 2 * _MOST_CHARACTERS]  # what is looked through is bounded, too
    clean = _BASE64.sub(_REDACTED, _BEARER.sub(rf"\1{_REDACTED}", head))
    clean = _PASSWORD.sub(rf"\1{_REDACTED}", clean)
    if len(clean) <= _MOST_CHARACTERS and len(head) == len(line):
        return clean
    return f"{clean[:_MOST_CHARACTERS]}… ({len(line):,} characters)"
