"""What is measured, in which order, and with how many frames a second; nothing here does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.setups import EMBEDDED

T = TypeVar("T")

STREAMS: Final = (1, 4, 16, 50)
#: The number of streams that ratios between contenders are taken at.
MAIN: Final = 16
#: The service's transport that is measured most, and that says what the service can answer.
MAIN_TRANSPORT: Final = "stream"

IDLE: Final = "idle"
HALF: Final = "half"
SATURATION: Final = "saturation"
TWICE: Final = "twice"
FAIRNESS: Final = "fairness"
CALIBRATION: Final = "calibration"

#: Frames that are due, by those that the contender was found to answer. A tenth too many saturates it;
#: more would only cost it and the load generator time for what is dropped, which the limit does not pay.
_SHARE: Final = {HALF: 0.5, SATURATION: 1.1, CALIBRATION: 1.2, TWICE: 2.0}
#: A contender that leaves less than this share unanswered was not saturated.
SATURATED_SHARE: Final = 0.03
_IDLE_RATE: Final = 5.0
_FAIRNESS_STREAMS: Final = 8
_FAIRNESS_RATE: Final = 1.2  # of the fair share, so that each takes what it gets
#: Half of what two models answer is 150 frames in three seconds, of which the second oldest would be the p99.
_TAIL_TIMES: Final = 3
_FLOOD: Final = 1.0  # of all that is answered, by one stream


@dataclass(frozen=True, slots=True)
class Plan:
    """How long it is measured.

    Attributes:
        rounds: of all contenders, at most.
        seconds: that most measurements count.
        warm_up: seconds before those.
        minutes: after which no further round begins that would not end in time.
        quick: whether only this service is measured, at one load.
    """

    rounds: int
    seconds: float
    warm_up: float
    minutes: float
    quick: bool

    def seconds_of(self, cell: "Cell") -> float:
        """Return how long a measurement counts: longer where a tail is told of few frames."""
        return self.seconds * (_TAIL_TIMES if cell.load == HALF else 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement.

    Attributes:
        streams: that are open at once.
        load: its name.
    """

    streams: int
    load: str


#: What ratios between contenders are taken from.
MAIN_CELL: Final = Cell(MAIN, SATURATION)
_ALL_LOADS: Final = (
    *(Cell(streams, SATURATION) for streams in STREAMS),
    Cell(MAIN, HALF),
    Cell(MAIN, TWICE),
)


def cells(setup: str, transport: str, number: int, *, quick: bool) -> list[Cell]:
    """Return what is measured of the service over one of its transports in a round.

    Args:
        setup: its name.
        transport: the main one is measured most.
        number: of the round, from 1.
        quick: whether to measure only what the quick ratios need.
    """
    if quick:
        return [MAIN_CELL]
    if transport == MAIN_TRANSPORT:
        return [*_ALL_LOADS, Cell(1, IDLE), Cell(_FAIRNESS_STREAMS, FAIRNESS)]
    return _beside_the_stream(setup, number)


def peer_cells(setup: str, number: int, *, all_loads: bool) -> list[Cell]:
    """Return what is measured of a peer in a round.

    Args:
        setup: its name.
        number: of the round, from 1.
        all_loads: whether it is ever measured at more than what its ratio is taken from.
    """
    return _beside_the_stream(setup, number) if all_loads else [MAIN_CELL]


def _beside_the_stream(setup: str, number: int) -> list[Cell]:
    """Return what is measured of others than the stream: all loads in the first round, then what ratios are taken from.

    Only plots need the rest, and so there is time for more rounds.
    """
    return list(_ALL_LOADS) if setup == EMBEDDED and number == 1 else [MAIN_CELL]


def rates(cell: Cell, capacity: float) -> list[float]:
    """Return how many frames a second are due of each stream.

    Args:
        cell: the measurement.
        capacity: frames a second that the contender was found to answer.
    """
    if cell.load == IDLE:
        return [_IDLE_RATE] * cell.streams
    if cell.load == FAIRNESS:
        fair = capacity / cell.streams
        return [_FLOOD * capacity] + [_FAIRNESS_RATE * fair] * (cell.streams - 1)
    return [_SHARE[cell.load] * capacity / cell.streams] * cell.streams


def another_fits(took: Sequence[float], left: float) -> bool:
    """Return whether another round would end in time.

    Args:
        took: seconds of each round so far, at least one. The first has more in it than the others, so it only counts while
            it is alone.
        left: seconds.
    """
    return max(took[1:] or took) <= left


def turned(items: Sequence[T], number: int) -> list[T]:
    """Return the items in the order of a round: each begins with another one.

    Args:
        items: as the first round has them.
        number: of the round, from 1.
    """
    start = (number - 1) % len(items)
    return [*items[start:], *items[:start]]
