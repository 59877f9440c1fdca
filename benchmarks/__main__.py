"""Measure the service against what the machine could do at most, and against two predict calls.

    python -m benchmarks [--rounds N] [--seconds S] [--soak-frames N] [--quick] [--soak] [--out FILE]

Prints a table, and writes all figures to benchmarks/results.json. Talks to 127.0.0.1 only. Exit codes:
0 where it was measured, whatever came out; 1 where a process failed.
"""

import argparse
import json
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import frames, machine, report, rounds, service
from benchmarks.children import ROOT, ChildFailedError

_RESULTS: Final = ROOT / "benchmarks" / "results.json"


def main() -> int:
    """Run the benchmark; return its exit code."""
    options = _options()
    # So that children are ended when this process is told to end.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="crowd-benchmark-") as name:
        try:
            results = _measure(options, Path(name))
        except ChildFailedError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        print(f"\nwritten to {options.out}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_at_least_one, help="default: 7, with --quick 1")
    parser.add_argument("--seconds", type=float, help="each measurement; default: 4, quick 1")
    parser.add_argument(
        "--soak-frames",
        type=int,
        help="frames of the memory part, 0 leaves it out; default: 10,000, quick 300",
    )
    parser.add_argument("--soak", action="store_true", help="the memory part only")
    parser.add_argument("--quick", action="store_true", help="see that it works; figures are rough")
    parser.add_argument(
        "--out", type=Path, help=f"default: {_RESULTS.relative_to(ROOT)}; quick or soak: none"
    )
    options = parser.parse_args()
    given = vars(options)
    for option, usual, quick in (
        ("rounds", 7, 1),
        ("seconds", 4.0, 1.0),
        ("soak_frames", 10_000, 300),
    ):
        if given[option] is None:
            setattr(options, option, quick if options.quick else usual)
    if options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    if options.soak_frames != 0 and options.soak_frames < 100:
        parser.error("--soak-frames must be 0, or at least 100")
    if options.soak and not options.soak_frames:
        parser.error("--soak needs --soak-frames")
    if options.out is None and not (options.quick or options.soak):
        options.out = _RESULTS
    return options


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    began = datetime.now(UTC)
    here = machine.describe()
    written = folder / "frames"
    written.mkdir()
    _say("making frames")
    sizes = [path.stat().st_size for path in frames.write(written)]
    plan = rounds.Plan(
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=min(1.0, options.seconds),
        in_flight=min(max(8, 6 * here["cores"]), 32),
    )
    measured = [] if options.soak else rounds.run(plan, folder, written, _say)
    starts = []
    if not options.soak:
        _say("starts")
        starts = [service.seconds_to_serving(folder) for _ in range(plan.rounds)]
    soaked = None
    if options.soak_frames:
        _say(f"memory, over {options.soak_frames:,} frames")
        soaked = rounds.soak(options.soak_frames, plan.in_flight, folder, written)
    print()
    found = {}
    if measured:
        found = report.ratios(measured)
        print(report.table(measured), end="\n\n")
        print(report.warning(report.disturbance(measured)), end="\n\n")
        found["seconds_to_serving"] = median(starts)
    memory = None
    if soaked is not None:
        memory = report.memory(soaked)
        found["memory_growth"] = memory["growth"]
        print(
            f"memory: {memory['frames']:,} frames in {memory['seconds']:.0f} s, "
            f"{memory['rss_mib_at_15_to_25_percent']:.1f} MiB early, "
            f"{memory['rss_mib_at_90_to_100_percent']:.1f} MiB late, "
            f"{memory['peak_rss_mib']:.1f} MiB at most\n"
            f"event loop's lag under that load, p99: {soaked['event_loop_lag_p99_ms']:.1f} ms\n"
        )
    print(report.verdicts(found))
    return {
        "date": began.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "ratios": found,
        "targets": report.TARGETS,
        "memory": memory,
        "event_loop_lag_p99_ms": soaked and soaked["event_loop_lag_p99_ms"],
        "disturbance": report.disturbance(measured) if measured else None,
        "medians": report.medians(measured) if measured else {},
        "plan": {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "warm_up": plan.warm_up,
            "in_flight": plan.in_flight,
            "frames": len(sizes),
            "mean_frame_bytes": sum(sizes) // len(sizes),
            "smallest_frame_bytes": min(sizes),
            "largest_frame_bytes": max(sizes),
        },
        "machine": here,
        "versions": machine.versions(),
        "raw": {"rounds": measured, "memory": soaked, "seconds_to_serving": starts},
    }


def _say(what: str) -> None:
    print(f"[{datetime.now(UTC):%H:%M:%S}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
