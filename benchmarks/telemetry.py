"""Measure what telemetry costs the detector: its processor time for a frame, with each of several things switched on.

    python -m benchmarks.telemetry [--rounds N] [--seconds S] [--out FILE]

One detector for each mode, all started at once and asked in turns, there and back again, so that what slows one slows all.
Frames come at the same rate to each, from the same generator; the model's input is as small as can be and JPEGs are
decoded at an eighth, for what a frame costs besides has nothing to do with telemetry and would hide it. What is exported
goes to a process that throws it away. Talks to 127.0.0.1 only.
"""

import argparse
import json
import math
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

from benchmarks import frames, machine, service
from benchmarks.children import Child, ChildFailedError
from benchmarks.endpoints import Endpoint

_RESULTS: Final = Path(__file__).resolve().parent / "telemetry_results.json"
_CHEAP: Final = {"MAX_FRAME_SIZE": "32", "DECODE_SCALE": "reduced"}
_STREAMS: Final = 4
_RATE: Final = 25.0  # frames a second of each stream
_WARM_UP: Final = 0.5
_SCRAPE_SECONDS: Final = 15.0  # between two scrapes, as deploy/prometheus has it
_PAGE_SECONDS: Final = 5.0
_START_SECONDS: Final = 60.0
_LOAD_SECONDS: Final = 120.0
#: For everything together, with so many of the frames traced.
_TARGETS: Final = "0.2 ms at most with traces at 1 %, 1 ms more with all"

OFF: Final = "off"


class Mode(NamedTuple):
    """What is switched on.

    Attributes:
        page: whether there is a Prometheus page, which is scraped.
        environment: more settings; `{collector}` stands for the collector's address.
    """

    page: bool
    environment: Mapping[str, str]


def _everything(ratio: float) -> Mode:
    """Return the mode with a page, metrics by OTLP, and so many of the frames traced."""
    return Mode(
        page=True,
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "{collector}",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        },
    )


#: By name; `off` is what the others are held against. What is off twice shows how exact this is.
MODES: Final[Mapping[str, Mode]] = {
    OFF: Mode(page=False, environment={}),
    "off again": Mode(page=False, environment={}),
    "page": Mode(page=True, environment={}),
    "all, traces 1 %": _everything(0.01),
    "all, traces 100 %": _everything(1.0),
}


def _start(stack: ExitStack, folder: Path, mode: Mode, collector: str) -> Endpoint:
    """Start a detector that ends with the stack."""
    settings = dict(_CHEAP)
    settings |= {name: text.format(collector=collector) for name, text in mode.environment.items()}
    if mode.page:
        port = service.free_port()
        settings["ADMIN_PORT"] = str(port)
        stack.enter_context(_scraping(f"http://127.0.0.1:{port}/metrics"))
    child, address = service.start_detector(folder, log_level="INFO", **settings)
    stack.enter_context(child)
    ends = time.monotonic() + _START_SECONDS
    while "service.serving" not in child.printed():
        child.check()
        if time.monotonic() > ends:
            raise ChildFailedError(f"the service did not serve within {_START_SECONDS:g} s")
        time.sleep(_WARM_UP)
    return Endpoint("detector", "stream", address, (child,))


@contextmanager
def _scraping(url: str) -> Iterator[None]:
    """Ask for a page, again and again."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(_SCRAPE_SECONDS):
            try:
                with urlopen(url, timeout=_PAGE_SECONDS) as page:
                    page.read()
            except OSError:
                continue  # it is not there yet, or no more

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        over.set()
        scraper.join()


def measure(
    folder: Path, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> tuple[list[dict[str, float]], float]:
    """Return milliseconds of processor time for a frame, by mode, of each round; and what others took, in percent.

    Raises:
        ChildFailedError: a process ended before its time.
    """
    written = folder / "frames"
    written.mkdir()
    frames.write(written)
    with ExitStack() as stack:
        port = service.free_port()
        stack.enter_context(Child(folder, ["-m", "benchmarks.otlp_sink", str(port)], os.environ))
        generator = stack.enter_context(
            Child(folder, ["-m", "benchmarks.load", str(written)], os.environ)
        )
        say("starting")
        endpoints = {
            name: _start(stack, folder, mode, f"http://127.0.0.1:{port}")
            for name, mode in MODES.items()
        }
        others = machine.Others()
        taken = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            figures = {}
            for name in list(endpoints)[:: -1 if number % 2 else 1]:
                answered = endpoints[name].measure(
                    generator,
                    rates=[_RATE] * _STREAMS,
                    seed=number,
                    warm_up=_WARM_UP,
                    seconds=seconds,
                )
                figures[name] = answered["cpu_ms_per_frame"]
            taken.append(figures)
        # While the children are there: the time of those that ended would be taken for others'.
        return taken, others.percent()


def summed_up(taken: list[dict[str, float]]) -> dict[str, Any]:
    """Return the medians, and what each mode adds: the mean of the rounds' differences, which are measured close together.

    With the mean goes its standard error, the differences' standard deviation by the root of their number. Processor
    time is told in ticks of 10 ms, so that the median of differences would be one of a few values.

    Args:
        taken: of two rounds or more, milliseconds by mode.
    """
    differences = {
        name: [each[name] - each[OFF] for each in taken] for name in taken[0] if name != OFF
    }
    return {
        "cpu_ms_per_frame": {name: median(each[name] for each in taken) for name in taken[0]},
        "added_ms_per_frame": {name: mean(values) for name, values in differences.items()},
        "standard_error": {
            name: stdev(values) / math.sqrt(len(values)) for name, values in differences.items()
        },
    }


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="2 or more")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each mode and round")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: give 2 or more, for there is no error of a single difference")

    def say(what: str) -> None:
        print(f"[{datetime.now(UTC):%H:%M:%S}] {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="telemetry-benchmark-") as name:
        taken, others = measure(Path(name), rounds=options.rounds, seconds=options.seconds, say=say)
    found = summed_up(taken)
    print(
        "processor time of the detector, ms a frame: medians, and what is added to them on average"
    )
    for name, spent in found["cpu_ms_per_frame"].items():
        added = found["added_ms_per_frame"].get(name)
        error = found["standard_error"].get(name)
        print(
            f"  {name:18} {spent:6.3f}"
            + ("" if added is None else f"   adds {added:6.3f} ± {error:.3f}")
        )
    print(f"others took {others:.1f} % of the machine")
    print(f"what is aimed at: {_TARGETS}")
    results = {
        "command": shlex.join(["python", "-m", "benchmarks.telemetry", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "others_percent": others,
        **found,
        "rounds": taken,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
