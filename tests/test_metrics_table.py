"""docs/metrics.md lists what both processes export, and nothing else."""

from typing import NamedTuple

import pytest

from tests.both import both_telling
from tests.servers import until
from tests.telemetry.metrics_receiver import MetricsReceiver
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
    async with both_telling(monkeypatch, photo) as both:
        of_detector = await scrape(f"http://{both.detector}/metrics")
        of_bridge = await scrape(f"http://{both.bridge}/metrics")
        await until(lambda: received_units(both.collector).keys() >= listed_units().keys())
    assert exported(of_detector) == listed("The detector", "Both")
    assert exported(of_bridge) == listed("The bridge", "Both")
    assert received_units(both.collector) == listed_units()
    assert value(of_detector, "hw_gpu_utilization") == 0.75
