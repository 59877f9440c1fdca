"""What a caller says of its spans reaches the service's."""

import asyncio

import pytest
from crowd_detector import DetectorClient, Frame

from tests.servers import service_process
from tests.telemetry.otlp_receiver import collecting

PARENT = "00f067aa0ba902b7"


def context(number: int) -> str:
    """Return one of a trace of this number."""
    return f"00-{number:032x}-{PARENT}-01"


async def test_calls_frames_and_streams_belong_to_the_callers_spans(photo: bytes) -> None:
    """By an argument, or by the frame itself."""

    def use(address: str) -> None:
        with DetectorClient(address) as client:
            client.detect(photo, traceparent=context(1), tracestate="vendor=1")
            client.detect(Frame(photo, traceparent=context(2)), traceparent=context(1))
            client.detect_batch([photo], traceparent=context(3))
            frame = Frame(photo, traceparent=context(5), tracestate="vendor=5")
            list(client.stream([frame], traceparent=context(4)))

    async with collecting() as collector:
        known = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        async with service_process(**known, OTEL_METRICS_EXPORTER="none") as service:
            await service.serves()
            await asyncio.to_thread(use, service.address)
            frames = await collector.has("detect_frame", 4)
            (stream,) = await collector.has("crowd.detector.v1.DetectorService/StreamDetections")
    assert [int(span.trace_id, 16) for span in (*frames, stream)] == [1, 2, 3, 5, 4]
    assert {span.span.parent_span_id.hex() for span in (*frames, stream)} == {PARENT}
    assert [span.span.trace_state for span in frames] == ["vendor=1", "", "", "vendor=5"]


@pytest.mark.parametrize("name", ["traceparent", "tracestate"])
def test_what_cannot_be_sent_is_an_error_of_the_caller(name: str) -> None:
    """Before anything is sent."""
    with (
        DetectorClient("localhost:1") as client,
        pytest.raises(ValueError, match=f"{name} is not printable ASCII"),
    ):
        client.detect(b"", **{name: "\N{BULLET}"})  # type: ignore[arg-type] # it is one of two texts
