"""The spans of frames whose engine makes batches, and of frames that fail on their way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crowd.detector.v1 import detector_pb2 as pb
from opentelemetry.sdk.resources import Resource

from detector_service.durations import duration
from detector_service.engines.base import Batch
from detector_service.rpc.frame_trace import FrameTrace, Traces
from telemetry.settings import OtelSettings
from telemetry.span_queue import SpanQueue
from telemetry.tracer import Tracer
from tests.telemetry.otlp_receiver import Collector, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def traced() -> AsyncIterator[tuple[Collector, Traces]]:
    """Run a collector, and what makes spans for it."""
    async with collecting() as collector:
        settings = OtelSettings(
            otel_exporter_otlp_traces_endpoint=collector.address, otel_bsp_schedule_delay=20
        )
        tracer = Tracer(SpanQueue(settings), Resource({"service.name": "test"}), settings)
        yield collector, Traces(tracer)
        await asyncio.to_thread(tracer.close)


def decoded(traces: Traces, sequence: int, flags: str) -> FrameTrace:
    """Return the trace of a frame whose pixels are there."""
    call = traces.call("BatchDetect", ())
    frame = pb.Frame(traceparent=f"00-{TRACE}-00f067aa0ba902b7-{flags}")
    now = time.perf_counter()
    trace = call.frame(frame, sequence, now - 0.03)
    trace.begun, trace.decoded = now - 0.02, now - 0.01
    return trace


async def test_frames_of_one_batch_are_linked_to_its_span() -> None:
    """There is one, in a trace of its own, though the sampler is not asked; none where no frame is kept."""
    now = time.perf_counter()
    shared, unseen = Batch(3, now - 0.01, now), Batch(1, now - 0.01, now)
    result = pb.FrameResult(stage_times=pb.StageTimes(inference=duration(0.005)))
    async with traced() as (collector, traces):
        for sequence, (batch, flags) in enumerate(
            ((unseen, "00"), (shared, "00"), (shared, "01"), (shared, "01"))
        ):
            trace = decoded(traces, sequence, flags)
            trace.batches = (batch,)
            trace.answered(result)
        inferences = await collector.has("inference", 2)
        (batch_span,) = await collector.has("run_batch")
        assert len(collector.named("detect_frame")) == 2
    assert batch_span.trace_id != TRACE
    assert batch_span.attributes == {"crowd.batch.size": 3}
    for inference in inferences:
        assert [link.span_id for link in inference.span.links] == [batch_span.span.span_id]


async def test_a_failed_inference_is_told_though_it_is_not_sampled() -> None:
    """With the stages that it came through; a frame that nobody waits for is no failure."""
    async with traced() as (collector, traces):
        decoded(traces, 1, "00").answered(pb.FrameError())
        decoded(traces, 2, "00").answered(pb.FrameError(reason=pb.ERROR_REASON_INFERENCE_FAILED))
        (frame,) = await collector.has("detect_frame")
        (inference,) = await collector.has("inference")
    assert frame.trace_id == TRACE
    assert frame.attributes["crowd.frame.sequence"] == 2
    assert frame.attributes["error.type"] == "INFERENCE_FAILED"
    assert inference.span.status.message == "INFERENCE_FAILED"
    assert collector.named("decode")[0].span.status.message == ""


async def test_a_frame_that_nobody_waits_for_says_so() -> None:
    """Where it is sampled."""
    async with traced() as (collector, traces):
        decoded(traces, 1, "01").answered(pb.FrameError())
        (frame,) = await collector.has("detect_frame")
    assert frame.attributes["crowd.frame.abandoned"] is True
    assert frame.span.status.code == frame.span.status.STATUS_CODE_UNSET
