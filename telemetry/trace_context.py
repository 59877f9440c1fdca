"""Which span something belongs to, as W3C Trace Context writes it: https://www.w3.org/TR/trace-context/."""

from collections.abc import Iterable
from typing import NamedTuple, Self


class TraceContext(NamedTuple):
    """What came with a message, unread; empty: nothing.

    Attributes:
        traceparent: the span, and whether its trace is sampled.
        tracestate: what others want to be passed on.
    """

    traceparent: str = ""
    tracestate: str = ""

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[str, str | bytes]]) -> Self:
        """Return what headers, or the metadata of a call, say; of several tracestates their list."""
        found: dict[str, str] = {}
        for name, value in headers:
            if (key := name.lower()) in cls._fields and isinstance(value, str):
                found[key] = f"{found[key]},{value}" if key in found else value
        return cls(**found)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return it as metadata of a call; what cannot be sent as such is left out."""
        return tuple(
            (name, value)
            for name, value in zip(self._fields, self, strict=True)
            if value and value.isascii() and value.isprintable()
        )
