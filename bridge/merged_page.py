"""The Prometheus pages of several workers as one; no I/O."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_LABEL: Final = "worker"


class _Merged(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families: Final = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def merged(pages: Mapping[int, str | None]) -> bytes:
    """Return one page with the figures of all, each with its worker's number as a label.

    So every series is one process's own, and begins again with nought where that one is started again, which
    Prometheus' `rate` knows how to read; sums over the label are those of the bridge.

    Args:
        pages: by worker; None where it gave none.
    """
    up = Metric("crowd_detector_bridge_worker_up", "Whether the worker gave its figures.", "gauge")
    families = {up.name: up}
    for worker, page in sorted(pages.items()):
        label = {_LABEL: str(worker)}
        up.add_sample(up.name, label, float(page is not None))
        for family in text_string_to_metric_families(page or ""):
            into = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                into.add_sample(sample.name, label | sample.labels, sample.value)
    return generate_latest(_Merged(families.values()))
