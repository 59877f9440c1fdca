"""Where a request without a body ends in what a client sends; no I/O."""

from typing import Final

_END: Final = b"\r\n\r\n"


class RequestEnd:
    """Finds the empty line, however the bytes come in pieces."""

    def __init__(self) -> None:
        self._last = b""  # bytes that may be the beginning of the end

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the data belongs to the request, and what follows it; nothing does before its end."""
        seen = self._last + data
        found = seen.find(_END)
        if found < 0:
            self._last = seen[1 - len(_END) :]
            return data, b""
        end = found + len(_END) - len(self._last)
        self._last = b""
        return data[:end], data[end:]
