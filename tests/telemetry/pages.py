"""Prometheus pages, read as Prometheus does."""

import asyncio
import urllib.request

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Page = dict[str, Metric]


async def scrape(url: str) -> Page:
    """Return the families of a page, by name."""

    def ask() -> str:
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return str(answer.read().decode())

    return parsed(await asyncio.to_thread(ask))


def parsed(text: str) -> Page:
    """Return the families of a page, by name; a name comes once only."""
    families = list(text_string_to_metric_families(text))
    page = {family.name: family for family in families}
    assert len(page) == len(families)
    return page


def value(page: Page, name: str, **labels: str) -> float:
    """Return the sum of the samples of this name that have these labels.

    Raises:
        LookupError: there is none.
    """
    found = [
        sample.value
        for family in page.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    if not found:
        raise LookupError(name, labels)
    return sum(found)
