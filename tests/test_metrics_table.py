"""docs/metrics.md lists what both processes export, and nothing else."""

from typing import NamedTuple

import pytest

from tests.both import both_telling
from tests.telemetry.pages import Page, scrape, value
from tests.test_docs import table

PAGE = "metrics.md"


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
        for name, kind, labels, _ in rows
        if name != "target_info"
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
    assert exported(of_detector) == listed("The detector", "Both")
    assert exported(of_bridge) == listed("The bridge", "Both")
    assert value(of_detector, "hw_gpu_utilization") == 0.75
