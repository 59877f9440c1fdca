"""What a few figures say of the service's health."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: A service of which so many looks in a row brought no result is not ready.
_LOOKS: Final = 4


class State(StrEnum):
    """What the service is fit for."""

    LOADING = "loading"
    READY = "ready"
    #: Frames get no results, for whatever reason.
    FAILING = "failing"
    #: Only a new process helps: a frame does not come back from its worker, or none has had a result for long.
    STUCK = "stuck"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is borne; in seconds.

    Attributes:
        interval: after which, without a result, the service looks at a picture of its own; 0: never.
        watchdog: that a frame may keep its worker, and that the service may be failing; 0: for ever.
    """

    interval: float
    watchdog: float

    @property
    def patience(self) -> float:
        """Seconds without a result after which the service is not ready."""
        return _LOOKS * self.interval or math.inf


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known at a moment; in seconds.

    Attributes:
        since_result: since a frame had a result, a client's or the service's own.
        since_probe: since the service last looked at a picture of its own; negative while it does.
        in_work: how long each frame that is in work has been so.
    """

    since_result: float
    since_probe: float = math.inf
    in_work: Sequence[float] = ()


def judge(vitals: Vitals, limits: Limits) -> State:
    """Return what the service is fit for, once its models are loaded: READY, FAILING or STUCK."""
    lost = any(seconds > limits.watchdog for seconds in vitals.in_work)
    failed = vitals.since_result > limits.patience + limits.watchdog
    if limits.watchdog and (lost or failed):
        return State.STUCK
    return State.FAILING if vitals.since_result > limits.patience else State.READY


def stuck_workers(vitals: Vitals, limits: Limits) -> int:
    """Return how many workers seem lost: each alone leaves the service ready, as long as others bring results."""
    bearable = min(limits.patience, limits.watchdog or math.inf)
    return sum(seconds > bearable for seconds in vitals.in_work)


def probe_is_due(vitals: Vitals, limits: Limits) -> bool:
    """Return whether nothing has shown for a while that frames get results."""
    return 0 < limits.interval <= min(vitals.since_result, vitals.since_probe)


class Ages:
    """How long ago things were, in seconds that the process ran.

    While it stands still (it was stopped, or its machine was) nothing can be done, and nothing grows older: of the time
    between two looks no more counts than the looks are apart where it runs.
    """

    def __init__(self, most: float) -> None:
        """Make it.

        Args:
            most: seconds between two looks that count.
        """
        self._most: Final = most
        self._looked = -math.inf
        self._known: dict[Hashable, tuple[float, float]] = {}  # when it was, and its age

    def look(self, now: float, times: Mapping[Hashable, float]) -> dict[Hashable, float]:
        """Return the ages of things; what is not asked for is forgotten.

        Args:
            now: in seconds, never less than before.
            times: when each thing was, by the same clock.
        """
        passed = min(now - self._looked, self._most)
        self._looked = now
        ages: dict[Hashable, float] = {}
        for thing, at in times.items():
            known_at, before = self._known.get(thing, (at, 0.0))
            ages[thing] = min(before + passed if known_at == at else passed, now - at)
        self._known = {thing: (at, ages[thing]) for thing, at in times.items()}
        return ages
