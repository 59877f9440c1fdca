"""A model of what a frame costs: the price of its parts, the bound that follows, and what is left over.

parts       decode, resize, inference, post-processing: each alone, on all cores (see parts.py)
transport   what the gRPC stream costs a detector that answers at once (see fake_detector.py)
client      what the same costs the load generator, which shares the machine
bound       cores / (parts + transport + client): frames a second, if nothing else cost anything
floors      p99 at half load, by the age of a frame alone, that a faultless scheduler would come to with these parts and the
            arrivals of the rounds (see ideal_queue.py); in a set-up with two models a frame has two inferences
rest        the service's own processor time for a frame, less parts and transport: threads in each
            other's way, the scheduler, colder caches
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import machine, peers
from benchmarks.arrivals import of_streams
from benchmarks.children import Child, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.endpoints import Endpoint
from benchmarks.ideal_queue import Parts, tail_vs_alone
from benchmarks.plan import HALF, MAIN, SATURATION
from benchmarks.report import medians
from benchmarks.setups import EMBEDDED, TWO_MODELS, Setup

_LOAD_SECONDS: Final = 120.0
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02
_WARM_UP: Final = 1.0
_MODELS: Final = {EMBEDDED: 1, TWO_MODELS: 2}


def measure(
    folder: Path, written: Path, setup: Setup, rate: float, seconds: float
) -> dict[str, float]:
    """Return the parts' prices in milliseconds of processor time for a frame.

    Args:
        folder: for what is written.
        written: a folder of frames.
        setup: with one model.
        rate: frames a second at which transport is measured: what the service answers.
        seconds: for each part.

    Raises:
        ChildFailedError: a process ended before its time.
    """
    with ExitStack() as stack:
        arguments = ["-m", "benchmarks.parts", str(setup.face), str(written)]
        child = stack.enter_context(Child(folder, arguments, os.environ | peers.quiet(folder)))
        parts: dict[str, float] = child.ask(
            "measure", limit=_LOAD_SECONDS + 10 * seconds, seconds=seconds
        )
    with ExitStack() as stack:
        fake = stack.enter_context(Child(folder, ["-m", "benchmarks.fake_detector"], os.environ))
        address = _address(fake)
        arguments = ["-m", "benchmarks.load", str(written)]
        generator = stack.enter_context(Child(folder, arguments, os.environ))
        figures = Endpoint("fake detector", "stream", address, (fake,)).measure(
            generator,
            rates=[rate / MAIN] * MAIN,
            seed=0,
            warm_up=_WARM_UP,
            seconds=seconds,
        )
    return parts | {
        "transport": figures["cpu_ms_per_frame"],
        "client": figures["generator_cpu_ms_per_frame"],
    }


def model(parts: dict[str, float], rows: Sequence[Figures]) -> dict[str, Any]:
    """Return the bound that follows from the parts, and what the service took beside them.

    Args:
        parts: as `measure` gives them.
        rows: of the rounds; those of the saturated stream count.
    """
    stream = next(
        each
        for each in medians(rows)
        if (each["setup"], each["contender"], each["load"], each["streams"])
        == (EMBEDDED, "stream", SATURATION, MAIN)
    )
    of_service = sum(parts.values()) - parts["client"]
    return {
        "parts_ms": parts,
        "bound_fps": 1000 * machine.cores() / sum(parts.values()),
        "stream_fps": stream["fps"],
        "stream_cpu_ms_per_frame": stream["cpu_ms_per_frame"],
        "half_load_floors": half_load_floors(parts, rows),
        "rest_ms": stream["cpu_ms_per_frame"] - of_service,
    }


def half_load_floors(parts: dict[str, float], rows: Sequence[Figures]) -> dict[str, float]:
    """Return for each set-up the `half_load_p99_vs_idle_p50` of a faultless scheduler, the median over the rounds.

    Args:
        parts: as `measure` gives them.
        rows: of the rounds.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row["contender"], row["load"]) == ("stream", HALF) and row["offered_fps"]:
            frame = Parts(
                before=(parts["transport"] + parts["decode"] + parts["resize"]) / 1000,
                inference=parts["inference"] / 1000,
                models=_MODELS[row["setup"]],
                after=parts["post-processing"] / 1000,
            )
            rates = [row["offered_fps"] / row["streams"]] * row["streams"]
            floor = tail_vs_alone(frame, of_streams(rates, row["round"]), machine.cores())
            found.setdefault(row["setup"], []).append(floor)
    return {setup: median(floors) for setup, floors in found.items()}


def described(found: dict[str, Any]) -> str:
    """Return the model as lines of text."""
    lines = ["a frame's processor time, ms"]
    lines += [f"  {name:18} {value:6.2f}" for name, value in found["parts_ms"].items()]
    lines += [
        f"  {'rest':18} {found['rest_ms']:6.2f}",
        *(
            f"half load's p99 by an idle p50, {setup}: {floor:.2f} by a faultless scheduler"
            for setup, floor in found["half_load_floors"].items()
        ),
        f"bound by the parts {found['bound_fps']:.1f} frames/s, measured {found['stream_fps']:.1f}",
    ]
    return "\n".join(lines)


def _address(fake: Child) -> str:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        fake.check()
        for line in fake.printed().splitlines():
            if line.startswith("{"):
                return str(json.loads(line)["address"])
        time.sleep(_LOOK_SECONDS)
    raise ChildFailedError("the fake detector did not serve")
