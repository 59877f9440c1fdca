"""What goes along with a call: who calls, and which span the call belongs to."""

from typing import TypeAlias

Metadata: TypeAlias = tuple[tuple[str, str], ...]


def authorization(token: str) -> Metadata:
    """Return what shows a bearer token; nothing where there is none.

    Raises:
        ValueError: it cannot be sent.
    """
    token = token.strip()  # as files end with a line's end
    if not token:
        return ()
    _check(token, "the token")
    return (("authorization", f"Bearer {token}"),)


def trace_context(traceparent: str, tracestate: str) -> Metadata:
    """Return what says which span a call belongs to, as W3C Trace Context has it; nothing where none is given.

    Raises:
        ValueError: it cannot be sent.
    """
    given = (("traceparent", traceparent), ("tracestate", tracestate))
    for name, value in given:
        _check(value, name)
    return tuple((name, value) for name, value in given if value)


def _check(value: str, name: str) -> None:
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} is not printable ASCII, so it cannot be sent")
