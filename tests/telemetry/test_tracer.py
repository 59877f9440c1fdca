"""Spans made after the fact: whose they are, which are kept, and what becomes of them on their way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource

from telemetry.metrics import Metrics
from telemetry.settings import OtelSettings
from telemetry.span_queue import SpanQueue
from telemetry.trace_context import TraceContext
from telemetry.tracer import Begun, Span, Tracer, ids
from tests.servers import until
from tests.telemetry.otlp_receiver import Collector, collecting
from tests.telemetry.pages import parsed, value

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = TraceContext(f"00-{TRACE}-{PARENT}-01", "vendor=1")
NOT_SAMPLED = TraceContext(f"00-{TRACE}-{PARENT}-00")
NONE = TraceContext()


def tracer(endpoint: str = "http://127.0.0.1:9", **settings: Any) -> Tracer:
    """Return one that sends to a collector soon."""
    known: dict[str, Any] = {
        "otel_exporter_otlp_traces_endpoint": endpoint,
        "otel_exporter_otlp_timeout": 5.0,
        "otel_bsp_schedule_delay": 20,
    }
    read = OtelSettings(**(known | settings))
    return Tracer(SpanQueue(read), Resource({"service.name": "test"}), read)


@asynccontextmanager
async def traced(**settings: Any) -> AsyncIterator[tuple[Collector, Tracer]]:
    """Run a collector, and what sends to it."""
    async with collecting() as collector:
        made = tracer(collector.address, **settings)
        yield collector, made
        await asyncio.to_thread(made.close)


def over(begun: Begun, name: str = "done", **said: Any) -> Span:
    """Return a span that took a hundredth of a second."""
    now = time.perf_counter()
    return Span(name, begun, now - 0.01, now, **said)


async def test_a_span_is_what_was_said_of_it() -> None:
    """Its trace, its parent, its times, its error; and what it tells others."""
    async with traced() as (collector, made):
        begun = made.begin("work", SAMPLED)
        inner = made.child(begun)
        made.emit(over(begun, attributes={"count": 1}, error="it broke"), over(inner, "part"))
        (work,), (part,) = await collector.has("done"), await collector.has("part")
    assert (work.trace_id, work.span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (part.trace_id, part.span.parent_span_id) == (TRACE, work.span.span_id)
    assert work.span.end_time_unix_nano - work.span.start_time_unix_nano == pytest.approx(10**7, 1)
    assert abs(time.time_ns() - work.span.end_time_unix_nano) < 60 * 10**9
    assert (work.attributes, work.span.status.message) == ({"count": 1}, "it broke")
    told = made.written(begun)
    assert told == (f"00-{TRACE}-{work.span.span_id.hex()}-01", "vendor=1")
    assert ids(begun) == {"trace_id": TRACE, "span_id": work.span.span_id.hex()}


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [
        # Of a frame without a context, of one that is sampled, of one that is not.
        ("always_on", (True, True, True)),
        ("always_off", (False, False, False)),
        ("traceidratio", (False, False, False)),
        ("parentbased_always_on", (True, True, False)),
        ("parentbased_always_off", (False, True, False)),
        ("parentbased_traceidratio", (False, True, False)),
    ],
)
def test_samplers(sampler: str, kept: tuple[bool, bool, bool]) -> None:
    """As the specification has them; the ratio here is nought."""
    made = tracer(otel_traces_sampler=sampler, otel_traces_sampler_arg=0.0)
    found = tuple(made.begin("work", each).sampled for each in (NONE, SAMPLED, NOT_SAMPLED))
    assert found == kept
    made.close()


def test_a_ratio_of_the_traces_is_kept() -> None:
    """By their ids, so that all processes agree."""
    made = tracer(otel_traces_sampler="traceidratio", otel_traces_sampler_arg=0.5)
    kept = sum(made.begin("work", NONE).sampled for _ in range(1000))
    assert 350 < kept < 650
    of_one = {
        made.begin("work", TraceContext(f"00-{TRACE}-{number:016x}-00")).sampled
        for number in range(1, 10)
    }
    assert len(of_one) == 1
    made.close()


async def test_what_is_emitted_is_exported_though_it_is_not_sampled() -> None:
    """What failed is worth knowing of."""
    async with traced() as (collector, made):
        begun = made.begin("work", NOT_SAMPLED)
        assert not begun.sampled
        assert made.written(begun).traceparent.endswith("-00")
        made.emit(over(begun, error="it broke"))
        (work,) = await collector.has("done")
    assert work.trace_id == TRACE


TEXT = st.text(max_size=600)
ALMOST = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{15,17}-[0-9a-fg]{1,3}(-.*)?")
PARSING = tracer()


@given(TEXT | ALMOST, TEXT)
@example("", "a=1")
@example(f"00-{'0' * 32}-{PARENT}-01", "")
@example(f"00-{TRACE}-{'0' * 16}-01", "")
@example(f"ff-{TRACE}-{PARENT}-01", "")
@example(f"00-{TRACE.upper()}-{PARENT}-01", "")
@example(f"cc-{TRACE}-{PARENT}-01-what-will-be", "")
@example(SAMPLED.traceparent, "," * 600)
def test_any_context_is_read_or_counted(traceparent: str, tracestate: str) -> None:
    """One that is malformed begins a trace of its own, and nothing is raised."""
    before = PARSING.malformed
    begun = PARSING.begin("work", TraceContext(traceparent, tracestate))
    counted = PARSING.malformed - before
    assert counted == (bool(traceparent) and begun.parent is None)
    assert begun.context.is_valid
    if begun.parent is not None:
        assert traceparent.strip(" \t")[3:35] == f"{begun.context.trace_id:032x}"
    made = PARSING.written(begun)
    assert made.metadata()[0] == ("traceparent", made.traceparent)
    assert len(made.traceparent) == 55


async def test_a_slow_collector_costs_spans_and_no_memory() -> None:
    """As many wait as may; the others are counted."""
    async with traced(otel_bsp_max_queue_size=10, otel_bsp_max_export_batch_size=5) as (
        collector,
        made,
    ):
        collector.gate.clear()
        for _ in range(100):
            made.emit(over(made.begin("work", NONE)))
        assert made.dropped == 90
        collector.gate.set()
        await collector.has("done", 10)
        made.emit(over(made.begin("work", NONE), "later"))
        await collector.has("later")
        assert made.dropped == 90
        assert len(collector.named("done")) == 10


def test_a_meter_tells_what_was_passed_over() -> None:
    """While the process runs; nobody need wait for its last line in the log."""
    metrics, made = Metrics("test", OtelSettings()), tracer(otel_bsp_max_queue_size=1)
    made.observe(metrics.meter)
    for _ in range(3):
        made.emit(over(made.begin("work", TraceContext("nonsense"))))
    page = parsed(metrics.page().decode())
    made.close()
    metrics.close()
    assert value(page, "crowd_detector_telemetry_contexts_malformed_total") == 3
    assert value(page, "crowd_detector_telemetry_spans_dropped_total") >= 2


async def test_what_waits_at_the_end_is_sent() -> None:
    """And what cannot be is given up."""
    async with collecting() as collector:
        made = tracer(collector.address, otel_bsp_schedule_delay=60_000)
        made.emit(over(made.begin("work", NONE)))
        await asyncio.to_thread(made.close)
        assert len(collector.named("done")) == 1
        collector.gate.clear()
        made = tracer(collector.address)
        made.emit(over(made.begin("work", NONE)))
        await asyncio.to_thread(made.close)
        await until(lambda: made.dropped == 1)
