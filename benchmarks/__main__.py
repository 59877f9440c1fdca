"""Measure the service against what the machine could do at most, and against its peers, in one run.

    python -m benchmarks [--rounds N] [--seconds S] [--minutes M] [--setup NAME] [--quick] [--out FILE]

Prints a table, and writes all figures to benchmarks/results.json and pictures into docs/images/. With
--quick, only this service and the limit, and what the committed file says beside it; nothing is written.
Talks to 127.0.0.1 only. Exit codes: 0 where it was measured, whatever came out; 1 where a process failed
or the run is void, whose figures are written beside the file. So are those of a run that did not end.
"""

import argparse
import importlib.util
import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, Final

from benchmarks import (
    comparison,
    cost,
    frames,
    machine,
    profiling,
    ratios,
    report,
    service,
    setups,
    soak,
)
from benchmarks.children import ROOT, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.plan import MAIN, SATURATION, Plan
from benchmarks.rounds import Rounds

_RESULTS: Final = ROOT / "benchmarks" / "results.json"
_IMAGES: Final = ROOT / "docs" / "images"
_STARTS: Final = 5
_SOAK_SECONDS: Final = 60.0
_PART_SECONDS: Final = 4.0
_PROFILE_SECONDS: Final = 10
_PROFILE: Final = "benchmark-profile.svg"
#: What starts, soak, cost and profile take after the rounds.
_AFTER_SECONDS: Final = 200.0


def main() -> int:
    """Run the benchmark; return its exit code."""
    options = _options()
    # So that children are ended when this process is told to end, and that a second Ctrl-C does not
    # keep it from ending them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="crowd-benchmark-") as name:
        try:
            results = _measure(options, Path(name))
        except ChildFailedError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
        return _publish(results, options.out, options.images, Path(name))


def _publish(results: dict[str, Any], out: Path | None, images: Path | None, folder: Path) -> int:
    """Write what was measured, and draw it; of a void run only the figures, beside the file.

    Args:
        results: all of it.
        out: the file, if any.
        images: where pictures go, if anywhere.
        folder: where the flame graph lies.
    """
    if reason := ratios.void(results["ratios"]):
        print(f"\nVOID: {reason}", file=sys.stderr)
        if out is not None:
            aside = out.with_suffix(".void.json")
            _write(aside, results | {"void": reason})
            _unfinished(out).unlink(missing_ok=True)
            print(f"what was measured lies in {aside}", file=sys.stderr)
        return 1
    if out is not None:
        _write(out, results)
        _unfinished(out).unlink(missing_ok=True)
        print(f"\nwritten to {out}")
    if images is not None:
        images.mkdir(parents=True, exist_ok=True)
        if (folder / _PROFILE).is_file():
            shutil.copyfile(folder / _PROFILE, images / _PROFILE)
        _draw(results, images)
    return 0


def _write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def _unfinished(out: Path) -> Path:
    """Return where the rows of a run lie that is not over."""
    return out.with_suffix(".unfinished.json")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_at_least_one, help="at most; default: 5, quick 3")
    parser.add_argument("--seconds", type=_positive, default=3.0, help="each counts; default: 3")
    parser.add_argument("--minutes", type=_positive, help="at most; default: 40, quick 2")
    parser.add_argument(
        "--setup", choices=(setups.EMBEDDED, setups.TWO_MODELS), help="default: both"
    )
    parser.add_argument("--quick", action="store_true", help="less than two minutes")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results.json; quick: none")
    parser.add_argument("--images", type=Path, help="default: docs/images; quick: none")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.quick else 5
    if options.minutes is None:
        options.minutes = 2.0 if options.quick else 40.0
    if options.quick:
        options.setup = setups.EMBEDDED
    else:
        options.out = options.out or _RESULTS
        options.images = options.images or _IMAGES
    return options


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _positive(text: str) -> float:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return float(text)


def _end(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    began, started = datetime.now(UTC), time.monotonic()
    here = machine.describe()
    written = folder / "frames"
    written.mkdir()
    _say("making frames")
    sizes = [path.stat().st_size for path in frames.write(written)]
    served = setups.make(folder)
    plan = Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=min(1.0, options.seconds),
        minutes=options.minutes,
        quick=options.quick,
    )
    measured = Rounds(
        plan,
        folder,
        written,
        [served[options.setup]] if options.setup else list(served.values()),
        _say,
    )

    def keep(rows: Sequence[Figures]) -> None:
        if options.out is not None:
            _write(_unfinished(options.out), {"date": began.isoformat(), "rows": rows})

    measured.run(started + 60 * plan.minutes - (0 if plan.quick else _AFTER_SECONDS), keep)
    found = ratios.of(measured.rows, machine.cores())
    extra: dict[str, Any] = {}
    if not plan.quick:
        extra = _afterwards(
            folder,
            written,
            served[setups.EMBEDDED],
            measured.rows,
            plan=plan,
        )
        if extra["seconds_to_serving"]:
            found["seconds_to_serving"] = median(extra["seconds_to_serving"])
        found["memory_growth"] = extra["soak"]["memory_growth"]
    print(report.table(measured.rows), end="\n\n")
    for warning in report.warnings(measured.rows, measured.left_out):
        print(f"NOTE: {warning}")
    print()
    if plan.quick:
        committed = json.loads(_RESULTS.read_text("utf-8"))["ratios"]
        print("\n".join(comparison.lines(found, committed, ratios.QUICK)))
    else:
        print(soak.described(extra["soak"]), end="\n\n")
        if extra["cost"]:
            print(cost.described(extra["cost"]), end="\n\n")
        print(report.verdicts(found))
    return {
        "date": began.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "took_minutes": (time.monotonic() - started) / 60,
        "ratios": found,
        "targets": {name: " ".join(map(str, wanted)) for name, wanted in ratios.TARGETS.items()},
        "left_out": measured.left_out,
        "disturbance": report.disturbance(measured.rows),
        "medians": report.medians(measured.rows),
        **extra,
        "plan": asdict(plan)
        | {
            "rounds": measured.done,
            "frames": len(sizes),
            "mean_frame_bytes": sum(sizes) // len(sizes),
            "smallest_frame_bytes": min(sizes),
            "largest_frame_bytes": max(sizes),
        },
        "machine": here,
        "versions": machine.versions(),
        "rows": measured.rows,
    }


def _afterwards(
    folder: Path,
    written: Path,
    setup: setups.Setup,
    rows: list[dict[str, Any]],
    *,
    plan: Plan,
) -> dict[str, Any]:
    """Measure what is measured once: starts, memory, a frame's cost, and where it goes."""
    scale = min(plan.seconds / 3, 1.0)  # a short trial is short here, too
    _say("starts")
    starts = [service.seconds_to_serving(folder) for _ in range(_STARTS if scale == 1 else 1)]
    _say("memory")
    soaked = soak.run(folder, written, setup, scale * _SOAK_SECONDS, "stream")
    saturated = [
        row["fps"]
        for row in rows
        if (row["setup"], row["contender"], row["load"], row["streams"])
        == (setups.EMBEDDED, "stream", SATURATION, MAIN)
    ]
    priced = None
    if saturated:
        _say("a frame's cost")
        parts = cost.measure(folder, written, setup, median(saturated), scale * _PART_SECONDS)
        priced = cost.model(parts, rows)
    _say("profile")
    without = profiling.record(
        folder,
        written,
        setup,
        capacity=soaked["fps"],
        seconds=max(int(scale * _PROFILE_SECONDS), 1),
        to=folder / _PROFILE,
    )
    return {
        "seconds_to_serving": starts,
        "soak": soaked,
        "cost": priced,
        "profile": _PROFILE if without is None else f"left out: {without}",
    }


def _draw(results: dict[str, Any], folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("NOTE: no pictures: matplotlib is not installed")
        return
    drawing: Callable[[dict[str, Any], Path], list[Path]] = importlib.import_module(
        "benchmarks.plots"
    ).draw
    for path in drawing(results, folder):
        print(f"drawn: {path}")


def _say(what: str) -> None:
    print(f"[{datetime.now(UTC):%H:%M:%S}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
