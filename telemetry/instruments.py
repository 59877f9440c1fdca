"""What instruments are made with; of OpenTelemetry this knows the API alone."""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from opentelemetry.metrics import CallbackOptions, NoOpMeterProvider, Observation

#: Makes instruments that measure nothing, at no cost.
NO_METER: Final = NoOpMeterProvider().get_meter("")

#: Where the buckets of durations end, seconds: from 0.25 ms to 10 s.
DURATIONS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)

#: Likewise of ages, seconds: what is a tenth of a second old is live, what is a minute old is of no use.
AGES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: Reads what an instrument tells, whenever it is asked; by the thread that exports.
Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]


def reading(value: Callable[[], float]) -> Callback:
    """Return a callback that tells one figure."""
    return lambda _: [Observation(value())]
