"""All contenders, one after the other, round by round, so that what slows one slows all."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import machine, service
from benchmarks.children import ROOT, Child
from benchmarks.contender import Figures

IN_PROCESS: Final = "in-process, {} workers"
TWO_MODELS: Final = "in-process, two models"
STREAM: Final = "stream"
FOUR_STREAMS: Final = "4 streams"
CAMERA: Final = "camera, 30 frames/s"
TWO_PREDICTS: Final = "two predict calls"

MOST_WORKERS: Final = 4
CAMERA_RATE: Final = 30.0

_LOAD_SECONDS: Final = 120.0
_SLACK_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 0.3  # threads of who was measured before may spin a little


@dataclass(frozen=True, slots=True)
class Plan:
    """How it is measured.

    Attributes:
        rounds: of all contenders.
        seconds: that each is measured for in a round.
        warm_up: seconds before those.
        in_flight: frames of a stream that are under way.
    """

    rounds: int
    seconds: float
    warm_up: float
    in_flight: int


def run(plan: Plan, folder: Path, frames: Path, say: Callable[[str], None]) -> list[Figures]:
    """Measure; give for each round the contenders' figures by name.

    Args:
        plan: how.
        folder: for what the contenders write.
        frames: a folder of frames.
        say: is told what goes on.

    Raises:
        ChildFailedError: a process ended before its time.
    """
    limit = plan.warm_up + plan.seconds + _SLACK_SECONDS
    window = {"warm_up": plan.warm_up, "seconds": plan.seconds}
    with ExitStack() as stack:
        say("loading")
        inside = stack.enter_context(_child(folder, "in_process", str(frames)))
        for workers in range(1, MOST_WORKERS + 1):
            inside.ask("load", limit=_LOAD_SECONDS, workers=workers)
        inside.ask("load", limit=_LOAD_SECONDS, workers=MOST_WORKERS, apart=True)
        predicts = stack.enter_context(
            _child(folder, "predict", str(ROOT / "models" / "crowd-n.pt"), str(frames))
        )
        predicts.ask("load", limit=_LOAD_SECONDS)
        client = serve(stack, folder, frames)

        def inside_with(workers: int, *, apart: bool = False) -> Callable[[], Figures]:
            return lambda: inside.ask(
                "measure", limit=limit, workers=workers, apart=apart, **window
            )

        def streamed(streams: int, rate: float = 0.0) -> Callable[[], Figures]:
            return lambda: client.ask(
                "measure",
                limit=limit,
                streams=streams,
                in_flight=plan.in_flight,
                rate=rate,
                **window,
            )

        contenders: dict[str, Callable[[], Figures]] = {
            IN_PROCESS.format(workers): inside_with(workers)
            for workers in range(1, MOST_WORKERS + 1)
        }
        contenders |= {
            TWO_MODELS: inside_with(MOST_WORKERS, apart=True),
            STREAM: streamed(1),
            FOUR_STREAMS: streamed(4),
            CAMERA: streamed(1, CAMERA_RATE),
            TWO_PREDICTS: lambda: predicts.ask("measure", limit=limit, **window),
        }
        measured = []
        for number in range(1, plan.rounds + 1):
            say(f"round {number} of {plan.rounds}")
            figures: Figures = {}
            for name, measure in contenders.items():
                time.sleep(_SETTLE_SECONDS)
                others = machine.Others()
                figures[name] = measure()
                figures[name]["others_percent"] = others.percent()
            measured.append(figures)
        return measured


def soak(total: int, in_flight: int, folder: Path, frames: Path) -> Figures:
    """Send so many frames through a fresh service; give what its memory did.

    Raises:
        ChildFailedError: a process ended before its time.
    """
    with ExitStack() as stack:
        client = serve(stack, folder, frames)
        return client.ask(
            "soak",
            limit=_SLACK_SECONDS + total / 10,  # slower than 10 frames/s is as good as hanging
            total=total,
            in_flight=in_flight,
            samples=min(total, 1000),
        )


def serve(stack: ExitStack, folder: Path, frames: Path) -> Child:
    """Start a service and a client for it; give the client once both are ready."""
    server, address = service.start(folder)
    stack.enter_context(server)
    client = stack.enter_context(
        _child(folder, "stream", address, str(server.process.pid), str(frames), relies_on=[server])
    )
    client.ask("wait", limit=_LOAD_SECONDS)
    return client


def _child(folder: Path, module: str, *arguments: str, relies_on: Sequence[Child] = ()) -> Child:
    quiet = {  # Ultralytics asks and fetches nothing, and keeps its settings out of the home folder
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(folder),
    }
    return Child(folder, ["-m", f"benchmarks.{module}", *arguments], os.environ | quiet, relies_on)
