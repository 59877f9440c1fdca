"""Traces of both processes, as a collector gets them: one frame from the browser to the model and back."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from tests import log_lines
from tests.bridge.bridges import Client, client
from tests.bridge.fake_detector import faking
from tests.bridge.test_third_parties import page_at
from tests.servers import ROOT, Process, connected, service_process, until
from tests.telemetry.otlp_receiver import Collector, ReceivedSpan, collecting
from tests.telemetry.pages import scrape, value

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BROWSER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{BROWSER}-01"
NOT_SAMPLED = f"00-{TRACE}-{BROWSER}-00"
RPC = "crowd.detector.v1.DetectorService/StreamDetections"
STAGES = ["queue", "decode", "inference", "post_processing"]

SEND_ONE = """
async ([url, image, traceparent]) => {
  const socket = new WebSocket(url);
  return await new Promise((resolve) => {
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.event !== "connected") { socket.close(); resolve(event); return; }
      socket.send(JSON.stringify({event: "process_frame", data: {frame: image, traceparent}}));
    };
  });
}
"""


class Both(NamedTuple):
    """A collector, and a detector and a bridge that send to it."""

    collector: Collector
    detector: Process
    bridge: Process

    @property
    def url(self) -> str:
        """Where the bridge's WebSocket is."""
        return f"ws://{self.bridge.address}/ws"


@asynccontextmanager
async def both(**environment: str) -> AsyncIterator[Both]:
    """Run all three, with these variables."""
    async with collecting() as collector:
        known = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        known |= {"ADMIN_PORT": "off", "OTEL_METRICS_EXPORTER": "none"} | environment
        async with service_process(**known) as detector:
            await detector.serves()
            known["DETECTOR_ADDRESS"] = detector.address
            async with service_process(module="bridge", **known) as bridge:
                await bridge.serves("bridge.serving")
                yield Both(collector, detector, bridge)


def check_frame(spans: list[ReceivedSpan], parent: str) -> None:
    """Check that the spans of one trace are one frame's way through both processes, in order."""
    found = {(span.service, span.name): span.span for span in spans}
    assert len(found) == len(spans)
    frame = found["crowd-bridge", "process_frame"]
    call = found["crowd-bridge", RPC]
    detection = found["crowd-detector", "detect_frame"]
    in_bridge = [found["crowd-bridge", name] for name in ("decode", "queue", RPC, "send")]
    in_detector = [found["crowd-detector", name] for name in STAGES]
    assert len(found) == 2 + len(in_bridge) + len(in_detector)
    assert frame.parent_span_id.hex() == parent
    assert {each.parent_span_id for each in in_bridge} == {frame.span_id}
    assert detection.parent_span_id == call.span_id
    assert {each.parent_span_id for each in in_detector} == {detection.span_id}
    for whole, parts in ((frame, in_bridge), (detection, in_detector)):
        times = [whole.start_time_unix_nano]
        for part in parts:
            times += [part.start_time_unix_nano, part.end_time_unix_nano]
        assert times[0] == times[1], "it begins with its first part"
        assert [*times, whole.end_time_unix_nano] == sorted([*times, whole.end_time_unix_nano])
    assert call.start_time_unix_nano <= detection.start_time_unix_nano
    assert detection.end_time_unix_nano <= call.end_time_unix_nano
    inference = in_detector[STAGES.index("inference")]
    assert inference.end_time_unix_nano - inference.start_time_unix_nano > 100_000
    assert frame.end_time_unix_nano - frame.start_time_unix_nano < 60_000_000_000


def of_trace(collector: Collector, trace: str) -> list[ReceivedSpan]:
    """Return the spans of a trace."""
    return [span for span in collector.spans if span.trace_id == trace]


@pytest.mark.needs("chromium", "chromium")
async def test_a_browsers_frame_is_one_trace(photo: bytes) -> None:
    """A page gives a frame its span; all that is done with the frame belongs to it."""
    image = base64.b64encode(photo).decode()
    async with both() as running, page_at("localhost") as page:
        event = await page.evaluate(SEND_ONE, [running.url, image, SAMPLED])
        assert event["event"] == "detection_result"
        await running.collector.has("send")
        await running.collector.has("post_processing")
        check_frame(of_trace(running.collector, TRACE), BROWSER)
        (frame,) = running.collector.named("detect_frame")
        assert (
            frame.attributes["crowd.total_people"]
            == event["data"]["crowd_analysis"]["total_people"]
        )
        assert frame.attributes["crowd.frame.width"] == 512


async def test_a_connections_header_and_its_frames(photo: bytes) -> None:
    """The handshake and the detector's stream belong to the header's span; frames are linked to them."""
    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
    async with both() as running:
        async with client(running.url, additional_headers=headers) as browser:
            await browser.send_frame(photo)
            await browser.result()
        await running.collector.has("close")
        await running.collector.has("end_stream")
        await running.collector.has("send")
        await running.collector.has("post_processing")
        (handshake,) = running.collector.named("GET /ws")
        (stream,) = [span for span in running.collector.named(RPC) if span.trace_id == TRACE]
        assert handshake.trace_id == TRACE
        assert handshake.span.parent_span_id.hex() == BROWSER
        assert handshake.span.trace_state == stream.span.trace_state == "vendor=1"
        assert stream.service == "crowd-detector"
        assert stream.span.parent_span_id == handshake.span.span_id
        assert {span.name for span in of_trace(running.collector, TRACE)} == {
            "GET /ws",
            "close",
            RPC,
            "end_stream",
        }
        (frame,) = running.collector.named("process_frame")
        (detection,) = running.collector.named("detect_frame")
        assert [link.span_id for link in frame.span.links] == [handshake.span.span_id]
        assert [link.span_id for link in detection.span.links] == [stream.span.span_id]
        check_frame(of_trace(running.collector, frame.trace_id), "")


async def ask(browser: Client, image: bytes, traceparent: str) -> str:
    """Send a frame; return the event that answers it."""
    await browser.send_frame(image, traceparent=traceparent)
    event, _ = await browser.receive()
    return event


async def test_what_is_not_sampled_leaves_only_its_errors(photo: bytes) -> None:
    """A frame of a trace that is not sampled has no spans, unless it fails; and the log has its trace."""
    failed = TRACE.replace("4b", "5b")
    async with both() as running:
        async with client(running.url) as browser:
            assert await ask(browser, photo, NOT_SAMPLED) == "detection_result"
            assert await ask(browser, b"no image", NOT_SAMPLED.replace(TRACE, failed)) == "error"
            assert await ask(browser, photo, "nonsense") == "detection_result"
        await running.collector.has("process_frame", 2)
        await running.collector.has("detect_frame", 2)
        page = await scrape(f"http://{running.bridge.address}/metrics")
        assert value(page, "crowd_detector_telemetry_contexts_malformed_total") == 1
        assert value(page, "crowd_detector_telemetry_spans_dropped_total") == 0
        assert of_trace(running.collector, TRACE) == []
        spans = {(each.service, each.name): each for each in of_trace(running.collector, failed)}
        for whose in (("crowd-bridge", "process_frame"), ("crowd-detector", "detect_frame")):
            assert spans[whose].attributes["error.type"] == "UNSUPPORTED_IMAGE"
            assert spans[whose].span.status.code == spans[whose].span.status.STATUS_CODE_ERROR
        assert spans["crowd-detector", "decode"].span.status.message == "UNSUPPORTED_IMAGE"
        assert ("crowd-detector", "inference") not in spans
        lines = [json.loads(line) for line in running.detector.log.read_text().splitlines()]
        (refusal,) = [line for line in lines if line["event"] == "frame.refused"]
        assert refusal["trace_id"] == failed
        assert refusal["span_id"] == spans["crowd-detector", "detect_frame"].span.span_id.hex()


async def test_a_sampler_decides_where_nobody_did(photo: bytes) -> None:
    """The bridge asks it, and the detector keeps to what the bridge says."""
    environment = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    async with (
        both(**environment, OTEL_TRACES_SAMPLER_ARG="0") as running,
        client(running.url) as browser,
    ):
        await browser.send_frame(photo)
        await browser.result()
        assert await ask(browser, photo, SAMPLED) == "detection_result"
        await running.collector.has("send")
        await running.collector.has("post_processing")
        check_frame(of_trace(running.collector, TRACE), BROWSER)
        assert {span.trace_id for span in running.collector.spans} == {TRACE}


async def test_unary_calls_belong_to_their_metadata(photo: bytes) -> None:
    """Or to what their frames say themselves."""
    other = TRACE.replace("4b", "5b")
    async with both() as running, connected(running.detector.address) as service:
        frames = [
            pb.Frame(encoded=photo),
            pb.Frame(encoded=photo, traceparent=SAMPLED.replace(TRACE, other)),
            pb.Frame(encoded=photo, traceparent="nonsense"),
        ]
        await service.BatchDetect(
            pb.BatchDetectRequest(frames=frames), metadata=(("traceparent", SAMPLED),)
        )
        found = await running.collector.has("detect_frame", 3)
        traces = {span.attributes["crowd.frame.sequence"]: span.trace_id for span in found}
        assert (traces[1], traces[2]) == (TRACE, other)
        assert traces[3] not in (TRACE, other)
        assert [span.span.parent_span_id.hex() for span in found].count(BROWSER) == 2


async def test_a_dropped_frame_says_why(photo: bytes) -> None:
    """Where it is sampled; one that would have been too late even where it is not."""
    async with both() as running, connected(running.detector.address) as service:
        stream = service.StreamDetections()

        async def send(config: pb.StreamConfig, traceparent: str) -> None:
            await stream.write(pb.StreamDetectionsRequest(config=config))
            frame = pb.Frame(encoded=photo, traceparent=traceparent)
            await stream.write(pb.StreamDetectionsRequest(frame=frame))

        await send(pb.StreamConfig(), SAMPLED)
        await stream.read()
        await stream.read()  # from now on it is known what a frame takes
        late = pb.StreamConfig()
        late.max_age.FromMilliseconds(1)
        await send(late, NOT_SAMPLED.replace("4b", "5b"))
        await send(pb.StreamConfig(max_frame_rate=0.001), SAMPLED)
        await send(pb.StreamConfig(max_frame_rate=0.001), NOT_SAMPLED.replace("4b", "6b"))
        await stream.done_writing()
        while await stream.read():
            pass
        (end,) = await running.collector.has("end_stream")
        assert end.attributes["crowd.stream.frames"] == 4
        frames = running.collector.named("detect_frame")
        dropped = [span.attributes.get("crowd.drop.reason", "") for span in frames]
        assert sorted(map(str, dropped)) == ["", "LATE", "RATE_LIMITED"]


async def test_a_frame_that_the_bridge_drops_says_why(photo: bytes) -> None:
    """And one that it refuses has a span, too, and a line in the log, which name its trace."""
    largest = str(len(photo) + 1)
    async with both(MAX_FRAME_BYTES=largest) as running, client(running.url) as browser:
        await browser.send("configure", {"max_frame_rate": 0.001})
        await browser.receive()
        await browser.send_frame(photo)
        await browser.result()
        await browser.send_frame(photo, traceparent=SAMPLED)
        fifth, sixth = (NOT_SAMPLED.replace("4b", number) for number in ("5b", "6b"))
        await browser.send("process_frame", {"frame": "not base64!", "traceparent": fifth})
        assert (await browser.error())["code"] == "INVALID_FRAME"
        await browser.send_frame(photo + b"  ", traceparent=sixth)
        assert (await browser.error())["code"] == "FRAME_TOO_LARGE"
        _, dropped, *refused = await running.collector.has("process_frame", 4)
        assert dropped.trace_id == TRACE
        assert dropped.attributes["crowd.drop.reason"] == "rate_limited"
        told = [(span.attributes["error.type"], span.trace_id) for span in refused]
        traces = [TRACE.replace("4b", number) for number in ("5b", "6b")]
        assert told == list(zip(["INVALID_FRAME", "FRAME_TOO_LARGE"], traces, strict=True))
        assert [span.span.parent_span_id.hex() for span in refused] == [BROWSER] * 2
        lines = log_lines.check(running.bridge.log.with_name("app.bridge.log").read_text())
        refusals = [line for line in lines if line["event"] == "message.refused"]
        assert [line["trace_id"] for line in refusals] == traces


async def test_a_detector_that_went_away_with_a_frame_is_a_failure() -> None:
    """The frame is given up after two of them, and its span says so though it is not sampled."""
    async with collecting() as collector, faking() as (detector,):
        detector.die_at = "fatal"
        async with service_process(
            module="bridge",
            DETECTOR_ADDRESS=detector.address,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.address,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as bridge:
            await bridge.serves("bridge.serving")
            async with client(f"ws://{bridge.address}/ws") as browser:
                await browser.send_frame(traceparent=NOT_SAMPLED)
                await browser.result()
                await browser.send_frame(frame_id="fatal", traceparent=NOT_SAMPLED)
                while (await browser.error())["code"] != "PROCESSING_ERROR":
                    pass
            (frame,) = await collector.has("process_frame")
            lines = log_lines.check(bridge.log.with_name("app.bridge.log").read_text())
    (given_up,) = [line for line in lines if line["event"] == "frame.given_up"]
    assert (given_up["sequence"], given_up["trace_id"]) == (2, TRACE)
    assert frame.trace_id == TRACE
    assert frame.attributes["error.type"] == "PROCESSING_ERROR"
    assert detector.frames[-1].traceparent.startswith(f"00-{TRACE}-")
    assert detector.frames[-1].traceparent.endswith("-00")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_where_telemetry_is_disabled_no_worker_exports(workers: str) -> None:
    """What is said to the process that watches them holds for them; its last exports would have come as it ends."""
    async with (
        collecting() as collector,
        faking() as (detector,),
        service_process(
            module="bridge",
            DETECTOR_ADDRESS=detector.address,
            BRIDGE_WORKERS=workers,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.address,
            OTEL_SDK_DISABLED="true",
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")
        async with client(f"ws://{bridge.address}/ws") as browser:
            await browser.send_frame(traceparent=SAMPLED)
            await browser.result()
        bridge.signal(signal.SIGTERM)
        assert await bridge.ended() == 0
    assert collector.spans == []
    assert [frame.traceparent for frame in detector.frames] == [SAMPLED]


@pytest.mark.parametrize("module", ["detector_service", "bridge"])
async def test_a_collector_that_cannot_be_reached_holds_nothing_up(
    module: str, photo: bytes
) -> None:
    """Frames are answered, what does not fit into the queue is dropped, the log says so in a few lines."""
    closed = "http://127.0.0.1:9"
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": closed,
        "OTEL_BSP_MAX_QUEUE_SIZE": "10",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
        "OTEL_METRICS_EXPORTER": "none",
        "ADMIN_PORT": "off",
    }
    on, off = (environment, {}) if module == "bridge" else ({}, environment)
    async with service_process(**off) as detector:
        await detector.serves()
        on = on | {"DETECTOR_ADDRESS": detector.address}
        async with service_process(module="bridge", **on) as bridge:
            await bridge.serves("bridge.serving")
            async with client(f"ws://{bridge.address}/ws") as browser:
                for _ in range(20):
                    await browser.send_frame(photo)
                    await browser.result()
            watched = bridge if module == "bridge" else detector
            log = detector.log if watched is detector else bridge.log.with_name("app.bridge.log")
            # The exporter tries again for so long, and who ends before that has only dropped them.
            await until(lambda: "telemetry.export_failed" in log.read_text())
            began = asyncio.get_running_loop().time()
            watched.signal(signal.SIGTERM)
            assert await watched.ended() == 0
            took = asyncio.get_running_loop().time() - began
    assert took < 20, "its last spans hold it up for a second, and not for the exporter's five"
    lines = [json.loads(line) for line in watched.errors.splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line["event"] == "traces.dropped"]
    assert told["spans"] >= 80
    (failed,) = [line for line in lines if line["event"] == "telemetry.export_failed"]
    assert failed["signal"] == "traces"
    assert not [line for line in lines if "opentelemetry" in line.get("logger", "")]


@pytest.mark.parametrize("module", ["detector_service", "bridge"])
async def test_a_variable_that_is_not_acceptable_ends_it_with_2(module: str) -> None:
    """It is named, with its value and what is allowed."""
    async with service_process(
        module=module,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_TRACES_SAMPLER="sometimes",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
    ) as process:
        assert await process.ended() == 2
    assert "OTEL_TRACES_SAMPLER=sometimes: input should be 'always_on'" in process.errors
    assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf: only grpc is supported" in (
        process.errors
    )


OFF = """
import sys
from telemetry.settings import load_otel_settings
from telemetry import tracing
import {modules}
assert tracing.start("anything", load_otel_settings(None), None) is None
print([name for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
       "telemetry.tracer", "{trace}") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("modules", "trace"),
    [
        ("bridge.__main__, bridge.worker", "bridge.frame_trace"),
        ("detector_service.__main__", "detector_service.rpc.frame_trace"),
    ],
)
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_where_nothing_is_traced_nothing_of_it_is_imported(
    environment: dict[str, str], modules: str, trace: str
) -> None:
    """Neither the library nor what makes spans."""
    done = subprocess.run(
        [sys.executable, "-c", OFF.format(modules=modules, trace=trace)],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
