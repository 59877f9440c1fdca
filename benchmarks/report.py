"""Figures become ratios, ratios a table."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from benchmarks import rounds
from benchmarks.contender import Figures

TARGETS: Final = {
    "stream_vs_inprocess": 0.9,
    "stream_vs_two_predicts": 5.0,
    "two_models_vs_two_predicts": 4.0,
    "memory_growth": 1.02,
    "seconds_to_serving": 3.0,
}
_AT_MOST: Final = ("memory_growth", "seconds_to_serving")

_COLUMNS: Final = (
    ("fps", "frames/s", "8.1f"),
    ("latency_p50_ms", "p50 ms", "7.1f"),
    ("latency_p99_ms", "p99 ms", "7.1f"),
    ("cpu_ms_per_frame", "CPU ms/frame", "12.2f"),
    ("client_cpu_ms_per_frame", "client's", "8.2f"),
    ("rss_mib", "RSS MiB", "7.0f"),
    ("drops", "drops", "5.0f"),
    ("detections_per_frame", "found/frame", "11.2f"),
    ("others_percent", "others' CPU %", "13.0f"),
)
_NAME_WIDTH: Final = 22
_QUIET_PERCENT: Final = 5


def medians(measured: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Return the median over all rounds of every figure of every contender."""
    return {
        name: {figure: median(r[name][figure] for r in measured) for figure in measured[0][name]}
        for name in measured[0]
    }


def ratios(measured: Sequence[Figures]) -> dict[str, float]:
    """Return the medians over all rounds of each round's ratio of frames a second."""
    middle = medians(measured)
    inside = [rounds.IN_PROCESS.format(n) for n in range(1, rounds.MOST_WORKERS + 1)]
    best = max(inside, key=lambda name: middle[name]["fps"])

    def against(ours: str, *theirs: str) -> float:
        shares: list[float] = [
            r[ours]["fps"] / max(r[name]["fps"] for name in theirs) for r in measured
        ]
        return median(shares)

    return {
        "stream_vs_inprocess": against(rounds.STREAM, best),
        "stream_vs_inprocess_best_of_each_round": against(rounds.STREAM, *inside),
        "four_streams_vs_inprocess": against(rounds.FOUR_STREAMS, best),
        "stream_vs_two_predicts": against(rounds.STREAM, rounds.TWO_PREDICTS),
        "two_models_vs_two_predicts": against(rounds.TWO_MODELS, rounds.TWO_PREDICTS),
    }


def memory(soaked: Figures) -> dict[str, Any]:
    """Return how memory grew: its mean over the last tenth of the frames, by that from 15 % to 25 %."""
    samples = soaked["rss_mib"]
    count = len(samples)
    early, late = samples[count * 15 // 100 : count * 25 // 100], samples[count * 9 // 10 :]
    return {
        "frames": soaked["frames"],
        "seconds": soaked["seconds"],
        "drops": soaked["drops"],
        "rss_mib_at_15_to_25_percent": sum(early) / len(early),
        "rss_mib_at_90_to_100_percent": sum(late) / len(late),
        "growth": sum(late) / len(late) / (sum(early) / len(early)),
        "peak_rss_mib": soaked["peak_rss_mib"],
    }


def table(measured: Sequence[Figures]) -> str:
    """Return the medians as lines of text."""
    head = "".join(f"  {title:>{_width(form)}}" for _, title, form in _COLUMNS)
    lines = [f"{'':{_NAME_WIDTH}}{head}   frames/s, least to most"]
    for name, figures in medians(measured).items():
        cells = "".join(
            f"  {figures[key]:{form}}" if key in figures else "  " + " " * _width(form)
            for key, _, form in _COLUMNS
        )
        rates = [r[name]["fps"] for r in measured]
        lines.append(f"{name:{_NAME_WIDTH}}{cells}   {min(rates):.1f} to {max(rates):.1f}")
    return "\n".join(lines)


def disturbance(measured: Sequence[Figures]) -> dict[str, float]:
    """Return how much of the machine others took, and in how many measurements that was too much."""
    shares = [figures["others_percent"] for r in measured for figures in r.values()]
    return {
        "others_percent": median(shares),
        "measurements": len(shares),
        "disturbed_measurements": sum(share > _QUIET_PERCENT for share in shares),
    }


def warning(disturbed: dict[str, float]) -> str:
    """Say how much others were in the way."""
    line = f"others took {disturbed['others_percent']:.1f} % of the machine (median)"
    if disturbed["disturbed_measurements"]:
        line += (
            f", and more than {_QUIET_PERCENT} % in {disturbed['disturbed_measurements']:.0f} of "
            f"{disturbed['measurements']:.0f} measurements.\nThe ratios cannot be relied on, for "
            "whoever runs more threads takes more from others. Measure again when the machine is quiet."
        )
    return line


def verdicts(found: dict[str, float]) -> str:
    """Return the ratios and, where there is one, what was aimed at, as lines of text."""
    lines = []
    for name, value in found.items():
        target = TARGETS.get(name)
        line = f"{name:40} {value:7.3f}"
        if target is not None:
            at_most = name in _AT_MOST
            reached = value <= target if at_most else value >= target
            line += f"   target {'<=' if at_most else '>='} {target:g}: "
            line += "reached" if reached else "missed"
        lines.append(line)
    return "\n".join(lines)


def _width(form: str) -> int:
    return int(form.partition(".")[0])
