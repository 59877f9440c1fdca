"""GPUs' figures, with an NVML that says what a test wants; none was read from a real one."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from telemetry.gpu import find_nvml, observe_gpus
from tests.telemetry.fake_nvml import FakeNvml


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """What reads the figures."""
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader: InMemoryMetricReader) -> Iterator[Meter]:
    """Whose figures these are."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider.get_meter("test")
    provider.shutdown()


def told(reader: InMemoryMetricReader) -> dict[tuple[str, str], float]:
    """Return the figures by name and GPU."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        (metric.name, str((point.attributes or {})["hw.id"])): point.value  # type: ignore[union-attr] # no histograms
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_all_gpus_are_told_of(meter: Meter, reader: InMemoryMetricReader) -> None:
    """Utilisation as a share, memory in bytes, temperature in degrees."""
    observe_gpus(meter, FakeNvml(2))
    assert told(reader) == {
        (name, gpu): figure
        for gpu in ("GPU-0", "GPU-1")
        for name, figure in {
            "hw.gpu.utilization": 0.75,
            "hw.gpu.memory.usage": 2_000,
            "hw.gpu.memory.limit": 8_000,
            "hw.temperature": 61,
        }.items()
    }


def test_what_a_gpu_does_not_tell_is_left_out(meter: Meter, reader: InMemoryMetricReader) -> None:
    """Some have no figure of utilisation; the rest is told all the same, and it again once it is there."""
    nvml = FakeNvml(1)
    observe_gpus(meter, nvml)
    nvml.fails = {"nvmlDeviceGetUtilizationRates"}
    assert ("hw.gpu.utilization", "GPU-0") not in told(reader)
    assert told(reader)["hw.temperature", "GPU-0"] == 61
    nvml.fails = set()
    assert told(reader)["hw.gpu.utilization", "GPU-0"] == 0.75


@pytest.mark.parametrize("call", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_a_driver_that_fails_tells_nothing(
    call: str, meter: Meter, reader: InMemoryMetricReader
) -> None:
    """And harms nobody."""
    nvml = FakeNvml(1)
    nvml.fails = {call}
    observe_gpus(meter, nvml)
    assert told(reader) == {}


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error either."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_nvml() is None


@pytest.mark.parametrize("driver", [True, False])
def test_without_the_driver_there_is_none(monkeypatch: pytest.MonkeyPatch, driver: bool) -> None:
    """The package alone is not enough."""
    nvml: Any = FakeNvml(1)
    nvml.fails = set() if driver else {"nvmlInit"}
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert find_nvml() is (nvml if driver else None)


def test_the_fake_is_made_as_the_library_is() -> None:
    """The names are those of nvidia-ml-py."""
    import pynvml

    fake = FakeNvml(1)
    names = [name for name in dir(fake) if name.lower().startswith("nvml")]
    assert names
    assert all(hasattr(pynvml, name) for name in names)
