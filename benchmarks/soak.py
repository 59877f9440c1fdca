"""The long run: twice the frames that can be answered, for as long as you like, and what memory does.

    python -m benchmarks.soak [--minutes M] [--transport NAME] [--out FILE]

Prints how memory grew and how old results were, and with --out writes every figure. `make bench` has a
minute of it.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import frames, machine, setups
from benchmarks.children import Child, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.endpoints import TRANSPORTS, service_endpoints
from benchmarks.plan import CALIBRATION, MAIN, TWICE, Cell, rates

_WARM_UP: Final = 2.0
_CALIBRATION_SECONDS: Final = 4.0
#: Frames a second that no machine of today answers for each core; it is calibrated with them.
_MOST_RATE_A_CORE: Final = 120.0


def run(
    folder: Path, written: Path, setup: setups.Setup, seconds: float, transport: str
) -> Figures:
    """Send a fresh service twice what it can answer; give what came back and what memory did.

    Args:
        folder: for what it writes.
        written: a folder of frames.
        setup: what is served.
        seconds: how long.
        transport: how frames are sent.

    Raises:
        ChildFailedError: a process ended before its time.
    """
    with ExitStack() as stack:
        endpoint = service_endpoints(stack, folder, setup)[transport]
        arguments = ["-m", "benchmarks.load", str(written)]
        generator = stack.enter_context(Child(folder, arguments, os.environ))

        def measure(load: str, capacity: float, seconds: float, samples: int) -> Figures:
            return endpoint.measure(
                generator,
                rates=rates(Cell(MAIN, load), capacity),
                seed=0,
                warm_up=_WARM_UP,
                seconds=seconds,
                samples=samples,
            )

        most = _MOST_RATE_A_CORE * machine.cores()
        capacity = measure(CALIBRATION, most, _CALIBRATION_SECONDS, 2)["fps"]
        figures = measure(TWICE, capacity, seconds, max(min(int(seconds), 1000), 20))
    return {
        "transport": transport,
        "setup": setup.name,
        "seconds": seconds,
        **figures,
        "memory_growth": growth(figures["resident"]),
    }


def growth(resident: Sequence[float]) -> float:
    """Return how memory grew: its mean over the last tenth of the time, by that from 15 % to 25 %.

    Args:
        resident: samples, evenly over the time; at least 20.
    """
    count = len(resident)
    early = resident[count * 15 // 100 : count * 25 // 100]
    late = resident[count * 9 // 10 :]
    return (sum(late) / len(late)) / (sum(early) / len(early))


def described(figures: Figures) -> str:
    """Return what there is to say in a line."""
    return (
        f"{figures['transport']}, {figures['setup']}: {figures['seconds']:.0f} s of "
        f"{figures['offered_fps']:.0f} frames/s, {figures['fps']:.1f} answered; age p99 "
        f"{figures['age_p99_ms']:.0f} ms; memory {figures['resident'][0]:.0f} MiB, at the end "
        f"{figures['resident'][-1]:.0f}, at most {max(figures['resident']):.0f}; "
        f"growth {figures['memory_growth']:.3f}"
    )


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="of each transport (default: 30)"
    )
    parser.add_argument(
        "--transport", choices=TRANSPORTS, action="append", help="default: stream, then ws-json"
    )
    parser.add_argument("--out", type=Path, help="default: none")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    began = datetime.now(UTC)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="crowd-benchmark-") as name:
        folder = Path(name)
        written = folder / "frames"
        written.mkdir()
        frames.write(written)
        setup = setups.make(folder)[setups.EMBEDDED]
        try:
            for transport in options.transport or ("stream", "ws-json"):
                found.append(run(folder, written, setup, 60 * options.minutes, transport))
                print(described(found[-1]), flush=True)
        except ChildFailedError as error:
            print(f"benchmarks.soak: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    if options.out is not None:
        results = {
            "date": began.isoformat(timespec="seconds"),
            "machine": machine.describe(),
            "versions": machine.versions(),
            "soaks": found,
        }
        options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
