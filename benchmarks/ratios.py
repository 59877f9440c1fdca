"""Rows become ratios: what is compared is of one round, and the median over the rounds counts.

A row is what one measurement gave: `round`, `setup`, `contender`, `streams` and `load` say which, and
the rest are its figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Final

from benchmarks import peers
from benchmarks.contender import Figures
from benchmarks.plan import FAIRNESS, HALF, IDLE, MAIN, SATURATION, STREAMS, TWICE
from benchmarks.rounds import IN_PROCESS, PREDICT_LOOP
from benchmarks.setups import EMBEDDED, TWO_MODELS

#: What is to be reached; of the two-model set-up likewise.
TARGETS: Final = {
    "stream_vs_inprocess": (">=", 0.9),
    "stream_1_vs_inprocess": (">=", 0.9),
    "stream_4_vs_inprocess": (">=", 0.9),
    "stream_vs_prototype": (">=", 5.0),
    "stream_vs_litserve": (">=", 3.0),
    "cpu_per_frame_spread": ("<=", 0.05),
    "half_load_p99_vs_idle_p50": ("<=", 2.5),
    "twice_load_p99_vs_bound": ("<=", 1.0),
    "fairness_least_share": (">=", 0.95),
    "memory_growth": ("<=", 1.02),
    "seconds_to_serving": ("<=", 3.0),
    "prototype_vs_predict_loop": (">=", 0.9),
}
#: What the quick run compares with the committed file.
QUICK: Final = ("stream_vs_inprocess", "ws_json_vs_stream", "ws_binary_vs_stream")

#: The prefix of the two-model set-up's names.
TWO_MODELS_PREFIX: Final = "two_models_"

_PREFIXES: Final = {EMBEDDED: "", TWO_MODELS: TWO_MODELS_PREFIX}
_FAIREST_LAG: Final = 3.0  # times the idle median, beyond one camera interval


def of(rows: Sequence[Figures], cores: int) -> dict[str, float]:
    """Return all ratios that these rows have the figures for.

    Args:
        rows: of a run.
        cores: of the machine that gave them.
    """
    found = {}
    for setup, prefix in _PREFIXES.items():
        by_round: dict[int, list[Figures]] = {}
        for row in rows:
            if row["setup"] == setup and row["round"] > 0:
                by_round.setdefault(row["round"], []).append(row)
        for name, ratio in _RATIOS.items():
            values = [
                value
                for one in by_round.values()
                if (value := ratio(_Round(one, cores))) is not None
            ]
            if values:
                found[prefix + name] = median(values)
        spread = _spread([_Round(one, cores) for one in by_round.values()])
        if spread is not None:
            found[prefix + "cpu_per_frame_spread"] = spread
    return found


def target(name: str) -> tuple[str, float] | None:
    """Return what a ratio is to reach, as a relation and a value, or None."""
    return TARGETS.get(name.removeprefix(TWO_MODELS_PREFIX))


def reached(name: str, value: float) -> bool | None:
    """Return whether a ratio reaches its target; None where it has none."""
    wanted = target(name)
    if wanted is None:
        return None
    relation, bound = wanted
    return value <= bound if relation == "<=" else value >= bound


def void(found: dict[str, float]) -> str | None:
    """Return why a run says nothing, or None: a baseline that was slowed flatters who is compared with it."""
    for prefix in _PREFIXES.values():
        name = prefix + "prototype_vs_predict_loop"
        if name in found and reached(name, found[name]) is False:
            return (
                f"{name} is {found[name]:.2f}, less than {TARGETS['prototype_vs_predict_loop'][1]:g}: the "
                "prototype was kept from its speed, so what is compared with it says nothing"
            )
    return None


@dataclass(frozen=True, slots=True)
class _Round:
    """The rows of one round and one set-up.

    Attributes:
        rows: the measurements.
        cores: of the machine.
    """

    rows: Sequence[Figures]
    cores: int

    def figure(self, contender: str, load: str, streams: int, name: str) -> float | None:
        """Return a figure's mean over the measurements of a contender; None where there is none."""
        found = [
            row[name]
            for row in self.rows
            if (row["contender"], row["load"], row["streams"]) == (contender, load, streams)
            and row.get(name) is not None
        ]
        return mean(found) if found else None

    def fps(self, contender: str, streams: int = MAIN) -> float | None:
        """Return the frames a second of a contender that is saturated."""
        return self.figure(contender, SATURATION, streams, "fps")

    def stream(self, name: str, load: str, streams: int) -> float | None:
        """Return a figure of the gRPC stream."""
        return self.figure("stream", load, streams, name)

    def stream_row(self, load: str) -> Figures | None:
        """Return the gRPC stream's row at a load that is measured once."""
        return next(
            (r for r in self.rows if r["contender"] == "stream" and r["load"] == load), None
        )


_Ratio = Callable[[_Round], float | None]


def _quotient(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _against(theirs: str, their_streams: int, ours: str = "stream", streams: int = MAIN) -> _Ratio:
    return lambda one: _quotient(one.fps(ours, streams), one.fps(theirs, their_streams))


def _inprocess_share(one: _Round) -> float | None:
    """Return frames a second by the cores that there were for them, to the limit's.

    The stream had those that the load generator left, the limit had all.
    """
    generator = one.stream("generator_cpu_percent", SATURATION, MAIN)
    if generator is None:
        return None
    left = (one.cores - generator / 100) / one.cores
    raw = _quotient(one.fps("stream"), one.fps(IN_PROCESS, 0))
    return _quotient(raw, left)


def _half_load(one: _Round) -> float | None:
    return _quotient(one.stream("age_p99_ms", HALF, MAIN), one.stream("age_p50_ms", IDLE, 1))


def _twice_load(one: _Round) -> float | None:
    """Return the p99 age at twice the load, by one camera interval and three times the idle p50."""
    offered, idle = one.stream("offered_fps", TWICE, MAIN), one.stream("age_p50_ms", IDLE, 1)
    if not offered or idle is None:
        return None
    bound = 1000 * MAIN / offered + _FAIREST_LAG * idle
    return _quotient(one.stream("age_p99_ms", TWICE, MAIN), bound)


def _fairness(one: _Round) -> float | None:
    """Return what the stream that got least got of its fair share, beside one that floods."""
    row = one.stream_row(FAIRNESS)
    if row is None or not sum(row["answered_by_stream"]):
        return None
    answered = row["answered_by_stream"]
    return float(min(answered[1:]) * len(answered) / sum(answered))


def _spread(rounds: Sequence[_Round]) -> float | None:
    """Return how far the processor time for a frame depends on the number of streams.

    A time is compared with the median of its round, for what the machine does to all; the median over the
    rounds is taken before the largest deviation is, for the largest of several noisy ones is mostly noise.
    """
    deviations: dict[int, list[float]] = {streams: [] for streams in STREAMS}
    for one in rounds:
        costs = {n: one.stream("cpu_ms_per_frame", SATURATION, n) for n in STREAMS}
        known = {n: cost for n, cost in costs.items() if cost is not None}
        if len(known) == len(STREAMS):
            for n, cost in known.items():
                deviations[n].append(cost / median(known.values()) - 1)
    if not all(deviations.values()):
        return None
    return max(abs(median(each)) for each in deviations.values())


_RATIOS: Final[dict[str, _Ratio]] = {
    "stream_vs_inprocess": _against(IN_PROCESS, 0),
    "stream_vs_inprocess_share": _inprocess_share,
    "stream_1_vs_inprocess": _against(IN_PROCESS, 0, streams=1),
    "stream_4_vs_inprocess": _against(IN_PROCESS, 0, streams=4),
    "stream_vs_prototype": _against(peers.PROTOTYPE.name, MAIN),
    "stream_vs_litserve": _against(peers.LITSERVE.name, MAIN),
    "stream_vs_litserve_tuned": _against(peers.LITSERVE_TUNED.name, MAIN),
    "stream_vs_ray": _against(peers.RAY.name, MAIN),
    "unary_vs_stream": _against("stream", MAIN, "unary"),
    "ws_json_vs_stream": _against("stream", MAIN, "ws-json"),
    "ws_binary_vs_stream": _against("stream", MAIN, "ws-binary"),
    "prototype_vs_predict_loop": _against(PREDICT_LOOP, 0, peers.PROTOTYPE.name),
    "half_load_p99_vs_idle_p50": _half_load,
    "twice_load_p99_vs_bound": _twice_load,
    "fairness_least_share": _fairness,
}
