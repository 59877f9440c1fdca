"""docs/metrics.md lists what both processes export, and nothing else."""

from typing import NamedTuple

import pytest
from crowd.detector.v1 import detector_pb2 as pb

from tests.bridge.bridges import client
from tests.servers import connected, service_process, serving, until
from tests.telemetry.fake_nvml import FakeNvml
from tests.telemetry.metrics_receiver import MetricsReceiver, receiving
from tests.telemetry.pages import Page, scrape, value
from tests.test_docs import table

PAGE = "metrics.md"


#: How the Prometheus page ends names, by unit.
ENDINGS = {"s": "_seconds", "By": "_bytes", "Cel": "_celsius"}
#: Made by the bridge's page itself.
ON_THE_PAGE_ALONE = "crowd_detector_bridge_worker_up"


class Exported(NamedTuple):
    """A metric, as it is told or listed."""

    name: str
    kind: str
    labels: frozenset[str]


def listed(*headings: str) -> set[Exported]:
    """Return the rows of these chapters."""
    rows = [row for heading in headings for row in table(PAGE, f"### {heading}")]
    return {
        Exported(name, kind, frozenset(filter(None, labels.replace("`", "").split(", "))))
        for name, kind, _, labels, _ in rows
        if name != "target_info"
    }


def listed_units() -> dict[str, str]:
    """Return the unit of each metric that leaves by OTLP, too."""
    units = {row[0]: row[2] for row in table(PAGE, "## What there is")}
    return {
        name: unit for name, unit in units.items() if name not in ("target_info", ON_THE_PAGE_ALONE)
    }


def received_units(collector: MetricsReceiver) -> dict[str, str]:
    """Return the unit of each metric that came, by the name that it has on a page."""
    return {
        metric.name.replace(".", "_")
        + ENDINGS.get(metric.unit, "")
        + ("_total" if metric.sum.is_monotonic else ""): metric.unit.strip("{}")
        for metric in collector.received()
    }


def exported(page: Page) -> set[Exported]:
    """Return what a page has."""
    return {
        Exported(
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels)
            - {"le", "worker"},
        )
        for family in page.values()
        if family.name != "target_info"
    }


async def test_what_is_listed_is_exported_and_what_is_exported_is_listed(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """By a detector with a GPU and with batches, and by a bridge with two workers, both with a collector."""
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
            ) as bridge,
        ):
            models = detector.server._detector
            assert models is not None
            models.models[0].engine.batches[8] += 1  # as an engine with batches does
            await bridge.serves("bridge.serving")
            async with client(f"ws://{bridge.address}/ws") as browser:
                await browser.send_frame(photo, timestamp=1_640_995_200_000)
                await browser.result()
            frame = pb.Frame(encoded=photo)
            frame.capture_time.GetCurrentTime()
            await stub.Detect(pb.DetectRequest(frame=frame))
            of_detector = await scrape(f"http://127.0.0.1:{detector.server.admin_port}/metrics")
            of_bridge = await scrape(f"http://{bridge.address}/metrics")
            await until(lambda: received_units(collector).keys() >= listed_units().keys())
    assert exported(of_detector) == listed("The detector", "Both")
    assert exported(of_bridge) == listed("The bridge", "Both")
    assert received_units(collector) == listed_units()
    assert value(of_detector, "hw_gpu_utilization") == 0.75
