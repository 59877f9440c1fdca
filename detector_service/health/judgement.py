"""What a few figures say of the service's health."""

import math
from collections.abc import Sequence
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
    #: A frame does not come back from its worker; only a new process helps.
    STUCK = "stuck"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is borne; in seconds.

    Attributes:
        interval: after which, without a result, the service looks at a picture of its own; 0: never.
        watchdog: that a frame may keep its worker; 0: for ever.
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
    if limits.watchdog and any(seconds > limits.watchdog for seconds in vitals.in_work):
        return State.STUCK
    return State.FAILING if vitals.since_result > limits.patience else State.READY


def stuck_workers(vitals: Vitals, limits: Limits) -> int:
    """Return how many workers seem lost: each alone leaves the service ready, as long as others bring results."""
    bearable = min(limits.patience, limits.watchdog or math.inf)
    return sum(seconds > bearable for seconds in vitals.in_work)


def probe_is_due(vitals: Vitals, limits: Limits) -> bool:
    """Return whether nothing has shown for a while that frames get results."""
    return 0 < limits.interval <= min(vitals.since_result, vitals.since_probe)
