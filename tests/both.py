"""A detector and a bridge that export all that they can: with a GPU, batches, two workers, a collector, and some work done."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc

from tests.bridge.bridges import client
from tests.servers import connected, service_process, serving
from tests.telemetry.fake_nvml import FakeNvml
from tests.telemetry.metrics_receiver import MetricsReceiver, receiving


class Both(NamedTuple):
    """Where their figures are.

    Attributes:
        detector: host and port of its admin port.
        bridge: host and port.
        stub: calls the detector.
        collector: gets the metrics of both.
    """

    detector: str
    bridge: str
    stub: "detector_pb2_grpc.DetectorServiceAsyncStub"
    collector: MetricsReceiver


@asynccontextmanager
async def both_telling(monkeypatch: pytest.MonkeyPatch, photo: bytes) -> AsyncIterator[Both]:
    """Run both; each has answered a frame, and a browser has come and gone."""
    monkeypatch.setattr("detector_service.server.find_nvml", lambda: FakeNvml(1))
    async with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        async with (
            serving(admin_port=0) as detector,
            connected(detector.address) as stub,
            service_process(
                module="bridge",
                BRIDGE_WORKERS="2",
                DETECTOR_ADDRESS=detector.address,
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
                OTEL_METRIC_EXPORT_INTERVAL="100",
            ) as bridge,
        ):
            models = detector.server._detector
            assert models is not None
            models.models[0].engine.batches[8] += 1  # as an engine with batches does
            await bridge.serves("bridge.serving")
            async with client(f"ws://{bridge.address}/ws") as browser:
                await browser.send_frame(photo, timestamp=1_640_995_200_000)
                await browser.result()
            await detect(stub, photo)
            address = f"127.0.0.1:{detector.server.admin_port}"
            yield Both(address, bridge.address, stub, collector)


async def detect(stub: "detector_pb2_grpc.DetectorServiceAsyncStub", photo: bytes) -> None:
    """Have a frame of this moment looked at."""
    frame = pb.Frame(encoded=photo)
    frame.capture_time.GetCurrentTime()
    await stub.Detect(pb.DetectRequest(frame=frame))
