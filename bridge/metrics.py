"""The figures that are exported, read from where they are counted anyway; docs/metrics.md lists them.

All are read by the threads that export, a few times a minute: what they read is copied in one step of the interpreter.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from bridge import protocols, translation
from bridge.detectors import DetectorLink
from bridge.errors import ErrorCode
from bridge.session import Session
from bridge.stats import CLOSE_CODES, ORIGIN_NOT_ALLOWED, TCP_CONNECTIONS, Stats
from telemetry.instruments import Callback, reading


def observe_stats(meter: Meter, stats: Stats) -> None:
    """Have a meter tell what this process has done.

    Args:
        meter: whose.
        stats: where that is counted.
    """

    def counter(name: str, unit: str, description: str, callback: Callback) -> None:
        meter.create_observable_counter(
            f"crowd_detector.bridge.{name}", [callback], unit, description
        )

    counter(
        "connections.opened",
        "{connection}",
        "WebSockets that were let in.",
        reading(lambda: stats.connections),
    )
    counter(
        "connections.closed",
        "{connection}",
        "WebSockets that ended, those that were turned away too.",
        _by("code", lambda: stats.closed, CLOSE_CODES),
    )
    counter(
        "refusals",
        "{refusal}",
        "Messages, frames and connections that were refused.",
        _by("code", lambda: stats.refused, (*ErrorCode, TCP_CONNECTIONS, ORIGIN_NOT_ALLOWED)),
    )
    counter(
        "messages.received",
        "{message}",
        "Messages of clients.",
        reading(lambda: stats.messages_in),
    )
    counter(
        "messages.sent", "{message}", "Messages to clients.", reading(lambda: stats.messages_out)
    )
    counter("frames.received", "{frame}", "Frames that came.", reading(lambda: stats.frames))
    counter(
        "frames.processed", "{frame}", "Frames that got a result.", reading(lambda: stats.results)
    )
    counter(
        "frames.abandoned",
        "{frame}",
        "Frames whose client left before there was an answer.",
        reading(lambda: stats.abandoned),
    )
    counter(
        "frames.dropped",
        "{frame}",
        "Frames that got no answer, here or in a detector.",
        _by("reason", lambda: stats.dropped, translation.DROP_REASONS),
    )

    def alerts(_options: CallbackOptions) -> Iterable[Observation]:
        known = product(translation.ALERT_TYPES, translation.ALERT_LEVELS)
        told = dict.fromkeys((f"{kind}.{level}" for kind, level in known), 0) | stats.alerts
        for name, count in told.items():
            kind, level = name.split(".")
            yield Observation(count, {"type": kind, "level": level})

    counter("alerts", "{alert}", "Alerts that subscribers were told.", alerts)


def observe_connections(
    meter: Meter, sessions: Collection[Session], tcp_connections: Callable[[], int]
) -> None:
    """Have a meter tell of what is open.

    Args:
        meter: whose.
        sessions: of WebSockets that were let in.
        tcp_connections: says how many connections there are, whatever they are at.
    """

    def up_down(name: str, unit: str, description: str, callback: Callback) -> None:
        meter.create_observable_up_down_counter(
            f"crowd_detector.bridge.{name}", [callback], unit, description
        )

    up_down(
        "connections.open",
        "{connection}",
        "WebSockets that are open.",
        _by(
            "protocol",
            lambda: Counter(session.subprotocol for session in tuple(sessions)),
            protocols.PROTOCOLS,
        ),
    )
    up_down(
        "tcp_connections.open",
        "{connection}",
        "TCP connections, from their first packet on.",
        reading(tcp_connections),
    )

    def frames(_: CallbackOptions) -> Iterable[Observation]:
        unanswered = [session.unanswered for session in tuple(sessions)]
        waiting = sum(each.waiting for each in unanswered)
        return [
            Observation(waiting, {"state": "waiting"}),
            Observation(sum(each.in_flight for each in unanswered), {"state": "in_detector"}),
        ]

    up_down("queue.frames", "{frame}", "Frames that are not answered.", frames)


def observe_detectors(meter: Meter, links: Sequence[DetectorLink]) -> None:
    """Have a meter tell of the detectors."""

    def detectors(_: CallbackOptions) -> Iterable[Observation]:
        serving = sum(link.serving for link in links)
        return [
            Observation(serving, {"state": "serving"}),
            Observation(len(links) - serving, {"state": "not_serving"}),
        ]

    meter.create_observable_up_down_counter(
        "crowd_detector.bridge.detectors",
        [detectors],
        "{detector}",
        "Detectors of DETECTOR_ADDRESS.",
    )


def _by(label: str, counts: Callable[[], Mapping[str, int]], known: Iterable[str] = ()) -> Callback:
    """Return a callback that tells counts by their names.

    Args:
        label: what the names are.
        counts: gives them.
        known: names that are told with nought, too: what appears with 1 has no rate.
    """
    noughts = dict.fromkeys(map(str, known), 0)
    return lambda _: [
        Observation(count, {label: str(name)}) for name, count in (noughts | dict(counts())).items()
    ]
