"""The figures that are exported, read from where they are counted anyway; docs/metrics.md lists them.

All are read by the threads that export, a few times a minute: what they read is copied in one step of the interpreter.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from crowd.detector.v1 import detector_pb2 as pb
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from detector_service.detection.detector import Detector
from detector_service.detection.model_files import Role
from detector_service.scheduling.workers import Workers
from detector_service.stats import Stats
from telemetry.instruments import Callback, reading

_ROLES: Final[Sequence[Role]] = ("face", "body")
_OTHER: Final = "OTHER"  # a number that this version's contract has no name for


def observe_stats(meter: Meter, stats: Stats) -> None:
    """Have a meter tell what the service has done.

    Args:
        meter: whose.
        stats: where that is counted.
    """

    def counter(name: str, unit: str, description: str, callback: Callback) -> None:
        meter.create_observable_counter(f"crowd_detector.{name}", [callback], unit, description)

    counter("frames.received", "{frame}", "Frames that came.", reading(lambda: stats.received))
    counter(
        "frames.processed", "{frame}", "Frames that got a result.", reading(lambda: stats.processed)
    )
    counter(
        "frames.failed",
        "{frame}",
        "Frames that got an error.",
        lambda _: _by_reason(pb.ErrorReason, stats.errors),
    )
    counter(
        "frames.dropped",
        "{frame}",
        "Frames that no work was spent on.",
        lambda _: _by_reason(pb.DropReason, stats.drops),
    )
    counter(
        "frames.abandoned",
        "{frame}",
        "Frames whose caller left before they were answered.",
        reading(lambda: stats.abandoned),
    )
    counter(
        "results.misdated",
        "{result}",
        "Results whose capture time lies in the future, or more than an hour back.",
        reading(lambda: stats.misdated),
    )
    counter(
        "calls.refused",
        "{call}",
        "Calls and streams that the service ended with a status other than OK.",
        lambda _: _by_reason(pb.ErrorReason, stats.refusals),
    )
    counter("alerts", "{alert}", "Alerts that results carried.", lambda _: _alerts(stats.alerts))
    meter.create_observable_up_down_counter(
        "crowd_detector.streams.active",
        [reading(lambda: stats.active_streams)],
        "{stream}",
        "Streams that are open.",
    )


def observe_health(meter: Meter, ready: Callable[[], bool]) -> None:
    """Have a meter tell whether the service is ready."""
    meter.create_observable_gauge(
        "crowd_detector.ready",
        [reading(lambda: int(ready()))],
        "",
        "Whether frames get results: 1, or 0.",
    )


def observe_workers(meter: Meter, workers: Workers[Any, Any]) -> None:
    """Have a meter tell of the workers, and of what waits for them."""

    def up_down(name: str, unit: str, description: str, callback: Callback) -> None:
        meter.create_observable_up_down_counter(
            f"crowd_detector.{name}", [callback], unit, description
        )

    def by_state(_: CallbackOptions) -> Iterable[Observation]:
        busy = len(workers.in_work())
        return [
            Observation(busy, {"state": "busy"}),
            Observation(workers.count - busy, {"state": "idle"}),
        ]

    up_down("workers", "{thread}", "Threads that work on frames.", by_state)
    up_down(
        "queue.frames",
        "{frame}",
        "Frames that wait for a worker.",
        reading(lambda: workers.waiting),
    )
    up_down("queue.size", "By", "Bytes of these frames.", reading(lambda: workers.waiting_bytes))


def observe_models(meter: Meter, stats: Stats, detector: Callable[[], Detector]) -> None:
    """Have a meter tell of the models.

    Args:
        meter: whose.
        stats: where the batches of models are counted that serve no more.
        detector: gives the models that serve.
    """

    def info(_: CallbackOptions) -> Iterable[Observation]:
        serving = detector()
        return [Observation(1, _described(serving, role)) for role in _ROLES]

    def batches(_: CallbackOptions) -> Iterable[Observation]:
        sizes = Counter(dict(stats.batches)) + detector().batches()
        return [Observation(count, {"images": images}) for images, count in sizes.items()]

    meter.create_observable_gauge(
        "crowd_detector.model.info", [info], "", "The models that serve; always 1."
    )
    meter.create_observable_counter(
        "crowd_detector.engine.batches",
        [batches],
        "{batch}",
        "Batches that engines ran, by the images in them; no engine on a processor but PyTorch has any.",
    )


def _described(detector: Detector, role: Role) -> Mapping[str, Any]:
    model = detector.model(role)
    return {
        "role": role,
        "engine": model.engine.name,
        "device": model.engine.device,
        "precision": model.engine.precision,
        "input_size": model.longest,
    }


def _by_reason(enum: Any, counts: Mapping[Any, int]) -> Iterable[Observation]:
    by_name = Counter(dict.fromkeys(_names(enum), 0))
    for number, count in dict(counts).items():
        by_name[_name(enum, number)] += count
    return [Observation(count, {"reason": name}) for name, count in by_name.items()]


def _alerts(counts: Mapping[Any, int]) -> Iterable[Observation]:
    by_name = Counter(dict.fromkeys(product(_names(pb.AlertType), _names(pb.AlertLevel)), 0))
    for (kind, level), count in dict(counts).items():
        by_name[_name(pb.AlertType, kind), _name(pb.AlertLevel, level)] += count
    return [
        Observation(count, {"type": kind.lower(), "level": level.lower()})
        for (kind, level), count in by_name.items()
    ]


def _names(enum: Any) -> list[str]:
    """Return the names of an enum's values. All of them are told, for what begins with 1 has no rate."""
    return [_name(enum, number) for number in enum.values() if number]


def _name(enum: Any, number: int) -> str:
    """Return the last part of a value's name: SUPERSEDED of DROP_REASON_SUPERSEDED."""
    if not number or number not in enum.values():
        return _OTHER
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(number).removeprefix(prefix))
