"""What this process uses of the machine, named as OpenTelemetry's semantic conventions have it.

https://opentelemetry.io/docs/specs/semconv/system/process-metrics/
"""

import time
from collections.abc import Iterable
from typing import Final

import psutil
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from telemetry.instruments import reading

_USER: Final = {"cpu.mode": "user"}
_SYSTEM: Final = {"cpu.mode": "system"}


def observe_process(meter: Meter) -> None:
    """Have a meter tell of this process."""
    process = psutil.Process()

    def cpu_time(_: CallbackOptions) -> Iterable[Observation]:
        times = process.cpu_times()
        return [Observation(times.user, _USER), Observation(times.system, _SYSTEM)]

    meter.create_observable_counter(
        "process.cpu.time", [cpu_time], "s", "Processor time, of all threads."
    )
    for name, unit, value, description in (
        ("process.memory.usage", "By", lambda: process.memory_info().rss, "Resident memory."),
        ("process.memory.virtual", "By", lambda: process.memory_info().vms, "Virtual memory."),
        ("process.thread.count", "{thread}", process.num_threads, "Threads."),
        (
            "process.unix.file_descriptor.count",
            "{file_descriptor}",
            process.num_fds,
            "Open file descriptors.",
        ),
    ):
        meter.create_observable_up_down_counter(name, [reading(value)], unit, description)
    meter.create_observable_gauge(
        "process.uptime",
        [reading(lambda: time.time() - process.create_time())],
        "s",
        "Since the process began.",
    )
