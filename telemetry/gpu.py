"""What NVIDIA's GPUs do, through NVML, named as OpenTelemetry's semantic conventions have it.

https://opentelemetry.io/docs/specs/semconv/hardware/gpu/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

_PERCENT: Final = 100

#: NVML as Python has it: the module `pynvml` of the package nvidia-ml-py.
Nvml: TypeAlias = Any


class _Gpu(NamedTuple):
    handle: Any
    attributes: Mapping[str, str]


def find_nvml() -> Nvml | None:
    """Return NVML; None where its package or its driver is not here."""
    try:
        import pynvml  # noqa: PLC0415 - optional, and of use to few
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def observe_gpus(meter: Meter, nvml: Nvml) -> None:
    """Have a meter tell of this machine's GPUs; what one of them cannot tell, or no longer, is left out.

    Args:
        meter: theirs.
        nvml: as `find_nvml` gives it.
    """
    gpus = list(_gpus(nvml))

    def gauge(
        read: Callable[[Any], float],
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for gpu in gpus:
                with suppress(nvml.NVMLError):
                    yield Observation(read(gpu.handle), gpu.attributes)

        return observe

    meter.create_observable_gauge(
        "hw.gpu.utilization",
        [gauge(lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / _PERCENT)],
        "1",
        "Of the time, what the GPU computed in.",
    )
    meter.create_observable_up_down_counter(
        "hw.gpu.memory.usage",
        [gauge(lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used)],
        "By",
        "Memory of the GPU that is taken, by whatever process.",
    )
    meter.create_observable_up_down_counter(
        "hw.gpu.memory.limit",
        [gauge(lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total)],
        "By",
        "Memory of the GPU.",
    )
    meter.create_observable_gauge(
        "hw.temperature",
        [gauge(lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))],
        "Cel",
        "Temperature of the GPU.",
    )


def _gpus(nvml: Nvml) -> Iterator[_Gpu]:
    """Find them once: their number and names stay."""
    with suppress(nvml.NVMLError):
        for index in range(nvml.nvmlDeviceGetCount()):
            with suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                name, identity = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
                yield _Gpu(handle, {"hw.id": identity, "hw.name": name, "hw.type": "gpu"})
