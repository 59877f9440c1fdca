"""A trace's context as it came: read from headers, sent on as metadata, whatever is in it."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.trace_context import TraceContext


def test_it_is_read_from_headers() -> None:
    """Whatever their letters; several of tracestate are one list, as RFC 9110 has it."""
    headers = [("Traceparent", "a"), ("tracestate", "b=1"), ("TraceState", "c=2"), ("other", "d")]
    assert TraceContext.of_headers(headers) == ("a", "b=1,c=2")
    assert TraceContext.of_headers([("traceparent", b"bytes")]) == ("", "")


@given(st.text(), st.text())
def test_what_gRPC_would_not_send_is_left_out(parent: str, state: str) -> None:  # noqa: N802 - its name
    """Metadata is printable ASCII, and nothing is said where there is nothing."""
    for name, value in TraceContext(parent, state).metadata():
        assert value == {"traceparent": parent, "tracestate": state}[name]
        assert value
        assert all(" " <= each <= "~" for each in value)


def test_both_are_sent_on() -> None:
    """As they came."""
    assert TraceContext("a", "b").metadata() == (("traceparent", "a"), ("tracestate", "b"))
