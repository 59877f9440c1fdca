"""The spans of frames that a collector gets, whatever becomes of the frames."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from bridge import protocols
from bridge.frame_queue import CONNECTION_CLOSED, Entry, FrameQueue
from bridge.frame_trace import ConnectionTrace, FrameTrace
from telemetry.trace_context import TraceContext
from tests.telemetry.otlp_receiver import Collector
from tests.telemetry.test_tracer import traced

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Collector, ConnectionTrace]]:
    """Run a collector, and a connection whose spans it gets."""
    async with traced() as (collector, tracer):
        yield collector, ConnectionTrace(tracer, TraceContext(), protocols.JSON)


def frame(connection: ConnectionTrace, flags: str) -> FrameTrace:
    """Return the trace of a frame that has just come."""
    context = TraceContext(f"00-{TRACE}-00f067aa0ba902b7-{flags}")
    return connection.frame(context, 1, time.perf_counter())


async def test_a_failure_is_kept_though_its_client_has_left() -> None:
    """It is not sampled; nor is the frame that was well, which leaves nothing."""
    async with connected() as (collector, connection):
        failed, well = frame(connection, "00"), frame(connection, "00")
        failed.failed("PROCESSING_ERROR")
        failed.dropped(CONNECTION_CLOSED)
        well.dropped(CONNECTION_CLOSED)
        (span,) = await collector.has("process_frame")
    assert len(collector.named("process_frame")) == 1
    assert span.attributes["error.type"] == "PROCESSING_ERROR"
    assert span.attributes["crowd.drop.reason"] == CONNECTION_CLOSED


async def test_an_error_of_a_later_contract_is_one() -> None:
    """Nothing breaks where its reason has no name yet."""
    async with connected() as (collector, connection):
        trace = frame(connection, "00")
        trace.queued()
        trace.sent("[::1]:50051")
        trace.answered(pb.StreamDetectionsResponse(error=pb.FrameError(reason=999)))  # type: ignore[arg-type] # so
        trace.told()
        (span,) = await collector.has("process_frame")
        (call,) = [each for each in collector.spans if "server.port" in each.attributes]
    assert span.attributes["error.type"] == "PROCESSING_ERROR"
    assert (call.attributes["server.address"], call.attributes["server.port"]) == ("::1", 50051)


@pytest.mark.parametrize("reason", ["superseded", "client_slow"])
async def test_what_the_client_is_told_of_a_drop_its_span_says_too(reason: str) -> None:
    """A newer frame took its place; or it did while the client was not reading."""
    async with connected() as (collector, connection):
        queue = FrameQueue(max_frames=1, max_bytes=1000, max_tries=2)
        older = Entry(1, request=b"frame")
        older.trace = frame(connection, "01")
        queue.put_frame(older)
        assert queue.put_frame(Entry(2, request=b"frame"), reason) == 1
        (span,) = await collector.has("process_frame")
    assert span.attributes["crowd.drop.reason"] == reason
