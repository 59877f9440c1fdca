"""What people read of the rows: a table, the ratios with their targets, and what to beware of."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from benchmarks import ratios
from benchmarks.contender import Figures
from benchmarks.plan import CALIBRATION, SATURATED_SHARE, SATURATION

_COLUMNS: Final = (
    ("offered_fps", "due/s", "7.1f"),
    ("fps", "frames/s", "8.1f"),
    ("age_p50_ms", "p50 ms", "7.0f"),
    ("age_p95_ms", "p95 ms", "7.0f"),
    ("age_p99_ms", "p99 ms", "7.0f"),
    ("unanswered_share", "dropped", "7.2f"),
    ("cpu_ms_per_frame", "CPU ms/frame", "12.2f"),
    ("generator_cpu_ms_per_frame", "generator's", "11.2f"),
    ("resident_mib", "MiB", "6.0f"),
    ("found_per_frame", "found", "5.2f"),
    ("others_percent", "others' CPU %", "13.1f"),
)
_KEYS: Final = ("setup", "contender", "load", "streams")
_NAME_WIDTH: Final = 42
_QUIET_PERCENT: Final = 5
_LATE_MS: Final = 20.0
#: Contenders see the same frames, but not each of them as often, and compute in other precisions.
_SAME_FOUND: Final = 0.15


def medians(rows: Sequence[Figures]) -> list[dict[str, Any]]:
    """Return the median over all rounds of every figure of every measurement, in the order they came."""
    groups: dict[tuple[Any, ...], list[Figures]] = {}
    for row in rows:
        if row["load"] != CALIBRATION:
            groups.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
    return [
        dict(zip(_KEYS, keys, strict=True))
        | {
            name: median(values)
            for name, _, _ in _COLUMNS
            if (values := [row[name] for row in group if name in row])
        }
        | {"fps_least": min(r["fps"] for r in group), "fps_most": max(r["fps"] for r in group)}
        for keys, group in groups.items()
    ]


def table(rows: Sequence[Figures]) -> str:
    """Return the medians as lines of text."""
    head = "".join(f"  {title:>{_width(form)}}" for _, title, form in _COLUMNS)
    lines = []
    setup = None
    for each in medians(rows):
        if each["setup"] != setup:
            setup = each["setup"]
            lines += ["", f"{setup:{_NAME_WIDTH}}{head}   frames/s, least to most"]
        name = each["contender"]
        if each["streams"]:
            name += f", {each['streams']}, {each['load']}"
        cells = "".join(
            f"  {each[key]:{form}}" if key in each else "  " + " " * _width(form)
            for key, _, form in _COLUMNS
        )
        lines.append(
            f"{name:{_NAME_WIDTH}}{cells}   {each['fps_least']:.1f} to {each['fps_most']:.1f}"
        )
    return "\n".join(lines[1:])


def verdicts(found: Mapping[str, float]) -> str:
    """Return the ratios and, where there is one, what was aimed at, as lines of text."""
    lines = []
    for name, value in found.items():
        line = f"{name:40} {value:7.3f}"
        wanted = ratios.target(name)
        if wanted is not None:
            line += f"   target {wanted[0]} {wanted[1]:g}: "
            line += "reached" if ratios.reached(name, value) else "missed"
        lines.append(line)
    return "\n".join(lines)


def disturbance(rows: Sequence[Figures]) -> dict[str, float]:
    """Return how much of the machine others took, and in how many measurements that was too much."""
    shares = [row["others_percent"] for row in rows]
    return {
        "others_percent": median(shares),
        "measurements": len(shares),
        "disturbed_measurements": sum(share > _QUIET_PERCENT for share in shares),
    }


def warnings(rows: Sequence[Figures], left_out: Mapping[str, str]) -> list[str]:
    """Return what a reader has to know before believing any of it."""
    found = [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    disturbed = disturbance(rows)
    if disturbed["disturbed_measurements"]:
        found.append(
            f"others took more than {_QUIET_PERCENT} % of the machine in "
            f"{disturbed['disturbed_measurements']:.0f} of {disturbed['measurements']:.0f} measurements: "
            "the ratios cannot be relied on, for whoever runs more threads takes more from others. "
            "Measure again when the machine is quiet"
        )
    found += [
        f"{row['contender']}, {row['streams']} streams, {row['setup']}, round {row['round']}: was not "
        "saturated; it could have answered more than was due"
        for row in rows
        if row["load"] == SATURATION
        and row["round"] > 0
        and row.get("unanswered_share", 1.0) < SATURATED_SHARE
    ]
    found += _strangers(rows)
    late = sum(row.get("generator_lag_p99_ms", 0.0) > _LATE_MS for row in rows)
    if late:
        found.append(f"the load generator was late by more than {_LATE_MS:g} ms in {late} rows")
    return found


def _strangers(rows: Sequence[Figures]) -> list[str]:
    """Return who found more or less in a frame than the others: they did not do the same work."""
    lines = []
    for setup in dict.fromkeys(row["setup"] for row in rows):
        found: dict[str, float] = {}
        for name in dict.fromkeys(row["contender"] for row in rows if row["setup"] == setup):
            # All its measurements together: a slow contender sees too few frames in a single one.
            its = [
                (row["found_per_frame"], row["fps"])
                for row in rows
                if (row["setup"], row["contender"]) == (setup, name)
                and row["load"] != CALIBRATION
                and "found_per_frame" in row
            ]
            frames = sum(fps for _, fps in its)
            if frames:
                found[name] = sum(each * fps for each, fps in its) / frames
        usual = median(found.values()) if found else 0.0
        lines += [
            f"{name}, {setup}: found {each:.2f} in a frame, where {usual:.2f} is usual: it did other work"
            for name, each in found.items()
            if abs(each - usual) > _SAME_FOUND * usual
        ]
    return lines


def _width(form: str) -> int:
    return int(form.partition(".")[0])
