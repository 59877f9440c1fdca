"""Text from elsewhere (file names, what a service says), as it can go to a terminal."""

from typing import Final

_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor, change its colours, or be no text."""
    return "".join(each if each.isprintable() else _UNKNOWN for each in text)
