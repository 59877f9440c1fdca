"""All contenders, one after the other, round by round, so that what slows one slows all.

Each is started for its turn and ended after it, so that none idles beside another. What a contender is
held against is measured right before it and right after it. Contenders take turns at being the first of a
round, and the measurements of every round at being the first after a start.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import machine, peers
from benchmarks.capacity import Capacity
from benchmarks.children import Child, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.endpoints import Endpoint, service_endpoints
from benchmarks.plan import (
    CALIBRATION,
    MAIN,
    MAIN_CELL,
    MAIN_TRANSPORT,
    SATURATED_SHARE,
    SATURATION,
    Cell,
    Plan,
    another_fits,
    cells,
    peer_cells,
    rates,
    turned,
)
from benchmarks.setups import Setup

IN_PROCESS: Final = "in-process limit"
PREDICT_LOOP: Final = "predict loop"
SERVICE: Final = "service"

_LOAD_SECONDS: Final = 120.0
_SLACK_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 0.3  # threads of who was measured before may spin a little
_ATTEMPTS: Final = 3
_MORE: Final = 1.2  # after an attempt that did not saturate
_CALIBRATIONS: Final = 2
_WORKERS_A_CORE: Final = (1, 2, 3)


class Rounds:
    """The processes that measure all the time, and the rows that they have given."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        frames: Path,
        setups: Sequence[Setup],
        say: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            plan: how long.
            folder: for what the contenders write.
            frames: a folder of frames.
            setups: what is served.
            say: is told what goes on.
        """
        self.rows: Final[list[Figures]] = []
        self.left_out: Final[dict[str, str]] = {}
        self.done = 0
        self._plan: Final = plan
        self._folder: Final = folder
        self._frames: Final = frames
        self._setups: Final = setups
        self._say: Final = say
        self._stack: Final = ExitStack()
        self._inside: Final[dict[str, tuple[Child, int]]] = {}
        self._predicts: Final[dict[str, Child]] = {}
        self._capacity: Final[dict[tuple[str, str], Capacity]] = {}
        self._limit: Final[dict[str, float]] = {}

    def run(self, ends: float, keep: Callable[[Sequence[Figures]], None]) -> None:
        """Measure.

        Args:
            ends: the moment of the monotonic clock at which all should be done; a round that would not
                be is not begun.
            keep: is given all rows after each round, so that what follows cannot lose them.

        Raises:
            ChildFailedError: this service, or one that measures, ended before its time.
        """
        with self._stack:
            self._say("loading")
            self._generator = self._child("load", str(self._frames))
            for setup in self._setups:
                self._load(setup)
            took: list[float] = []
            for number in range(1, self._plan.rounds + 1):
                began = time.monotonic()
                if took and not another_fits(took, ends - began):
                    self._say(f"no time for round {number}")
                    return
                self._say(f"round {number} of {self._plan.rounds}")
                for setup in self._setups:
                    self._round(number, setup)
                self.done = number
                keep(self.rows)
                took.append(time.monotonic() - began)

    def _load(self, setup: Setup) -> None:
        inside = self._child("in_process", str(setup.face), str(setup.body), str(self._frames))
        best = 0.0
        for workers in [machine.cores() * each for each in _WORKERS_A_CORE]:
            inside.ask("load", limit=_LOAD_SECONDS, workers=workers)
            figures = self._ask_inside(inside, workers)
            self._note(0, setup, IN_PROCESS, Cell(0, CALIBRATION), figures)
            if figures["fps"] > best:
                best = figures["fps"]
                self._inside[setup.name] = inside, workers
        self._limit[setup.name] = best
        if not self._plan.quick and peers.PROTOTYPE.missing() is None:
            predicts = self._child(
                "predict", str(setup.face_weights), str(setup.body_weights), str(self._frames)
            )
            predicts.ask("load", limit=_LOAD_SECONDS)
            self._predicts[setup.name] = predicts

    def _round(self, number: int, setup: Setup) -> None:
        turns: list[Callable[[], None]] = [lambda: self._service(number, setup)]
        if not self._plan.quick:
            turns += [
                lambda peer=peer: self._peer(number, setup, peer)  # type: ignore[misc]
                for peer in peers.PEERS
            ]
        for turn in turned(turns, number):
            turn()

    def _service(self, number: int, setup: Setup) -> None:
        self._inside_limit(number, setup)
        with ExitStack() as stack:
            endpoints = service_endpoints(stack, self._folder, setup)
            for transport, endpoint in endpoints.items():
                if self._plan.quick and transport == "unary":
                    continue
                capacity = self._capacity_of(setup, SERVICE, endpoint)
                wanted = cells(setup.name, transport, number, quick=self._plan.quick)
                for cell in turned(wanted, number):
                    figures = self._cell(number, setup, endpoint, cell, capacity.fps)
                    if cell == MAIN_CELL and transport == MAIN_TRANSPORT:
                        capacity.add(figures["fps"])
        self._inside_limit(number, setup)

    def _peer(self, number: int, setup: Setup, peer: peers.Peer) -> None:
        name = f"{peer.name}, {setup.name}"
        if name in self.left_out:
            return
        reason = peer.missing()
        if reason is None:
            beside = peer is peers.PROTOTYPE
            try:
                if beside:
                    self._predict_loop(number, setup)
                self._measure_peer(number, setup, peer)
                if beside:
                    self._predict_loop(number, setup)
            except ChildFailedError as error:
                reason = str(error)
        if reason is not None:
            self._say(f"left out: {name}: {reason}")
            self.left_out[name] = reason

    def _measure_peer(self, number: int, setup: Setup, peer: peers.Peer) -> None:
        child, address = peer.start(self._folder, setup)
        with child:
            peer.wait(child, address)
            child.settle()
            endpoint = Endpoint(peer.name, peer.transport, address, (child,))
            capacity = self._capacity_of(setup, peer.name, endpoint)
            wanted = peer_cells(setup.name, number, all_loads=peer.all_loads)
            for cell in turned(wanted, number):
                figures = self._cell(number, setup, endpoint, cell, capacity.fps)
                if cell == MAIN_CELL:
                    capacity.add(figures["fps"])

    def _capacity_of(self, setup: Setup, name: str, endpoint: Endpoint) -> Capacity:
        """Return what is known; at first, find out what is answered of more than the machine could do."""
        if (setup.name, name) not in self._capacity:
            cell = Cell(MAIN, CALIBRATION)
            answered = []
            for _ in range(_CALIBRATIONS):
                figures = self._ask(endpoint, cell, self._limit[setup.name], 0)
                self._note(0, setup, name, cell, figures)
                answered.append(figures["fps"])
            capacity = Capacity(answered)
            if not capacity.fps:
                raise ChildFailedError(f"{name}: no frame was answered")
            self._capacity[setup.name, name] = capacity
        return self._capacity[setup.name, name]

    def _cell(
        self, number: int, setup: Setup, endpoint: Endpoint, cell: Cell, capacity: float
    ) -> Figures:
        """Measure; again with more, where the contender answers what it was thought not to."""
        for _ in range(_ATTEMPTS):
            figures = self._ask(endpoint, cell, capacity, number)
            if cell.load != SATURATION or figures["unanswered_share"] >= SATURATED_SHARE:
                break
            capacity = _MORE * max(capacity, figures["fps"])
        self._note(number, setup, endpoint.contender, cell, figures)
        return figures

    def _ask(self, endpoint: Endpoint, cell: Cell, capacity: float, seed: int) -> Figures:
        time.sleep(_SETTLE_SECONDS)
        others = machine.Others()
        # What has just been started needs longer to come to its speed.
        warm_up = self._plan.warm_up * (2 if cell.load == CALIBRATION else 1)
        figures = endpoint.measure(
            self._generator,
            rates=rates(cell, capacity),
            seed=seed,
            warm_up=warm_up,
            seconds=self._plan.seconds_of(cell),
        )
        figures["others_percent"] = others.percent()
        for child in endpoint.children:
            child.settle()
        return figures

    def _inside_limit(self, number: int, setup: Setup) -> None:
        child, workers = self._inside[setup.name]
        self._note(number, setup, IN_PROCESS, Cell(0, SATURATION), self._ask_inside(child, workers))

    def _ask_inside(self, child: Child, workers: int) -> Figures:
        return self._ask_loop(child, workers=workers)

    def _predict_loop(self, number: int, setup: Setup) -> None:
        figures = self._ask_loop(self._predicts[setup.name])
        self._note(number, setup, PREDICT_LOOP, Cell(0, SATURATION), figures)

    def _ask_loop(self, child: Child, **how: int) -> Figures:
        time.sleep(_SETTLE_SECONDS)
        others = machine.Others()
        figures = child.ask(
            "measure",
            limit=self._plan.warm_up + self._plan.seconds + _SLACK_SECONDS,
            warm_up=min(self._plan.warm_up, 0.5),
            seconds=self._plan.seconds,
            **how,
        )
        figures["others_percent"] = others.percent()
        return figures

    def _note(
        self, number: int, setup: Setup, contender: str, cell: Cell, figures: Figures
    ) -> None:
        self.rows.append(
            {
                "round": number,
                "setup": setup.name,
                "contender": contender,
                "streams": cell.streams,
                "load": cell.load,
                **figures,
            }
        )

    def _child(self, module: str, *arguments: str) -> Child:
        child = Child(
            self._folder,
            ["-m", f"benchmarks.{module}", *arguments],
            os.environ | peers.quiet(self._folder),
        )
        return self._stack.enter_context(child)
