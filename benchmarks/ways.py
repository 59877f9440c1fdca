"""A way into a contender that runs, and the order to the load generator to go it."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import service
from benchmarks.children import Child, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.setups import Setup

#: The service's doors; its rows are named after them.
DOORS: Final = ("stream", "unary", "ws-json", "ws-binary")

_SLACK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """One door of a contender.

    Attributes:
        contender: as its rows are named.
        door: how frames are sent.
        address: where to.
        children: the processes that serve it, whose time and memory count.
    """

    contender: str
    door: str
    address: str
    children: tuple[Child, ...]

    def measure(self, generator: Child, *, warm_up: float, seconds: float, **how: Any) -> Figures:
        """Have the load generator measure; see `load.LoadGenerator.measure`.

        Raises:
            ChildFailedError: the contender refused, or ended, or the generator did.
        """
        figures = generator.ask(
            "measure",
            limit=warm_up + seconds + _SLACK_SECONDS,
            door=self.door,
            address=self.address,
            pids=[child.process.pid for child in self.children],
            warm_up=warm_up,
            seconds=seconds,
            **how,
        )
        for child in self.children:
            child.check()
        if "failed" in figures:
            raise ChildFailedError(f"{self.contender}: {figures['failed']}")
        return figures


def service_ways(stack: ExitStack, folder: Path, setup: Setup) -> dict[str, Way]:
    """Start the service, which ends with the stack; return its doors by name."""
    detector, grpc_address, bridge, ws_address = service.start(stack, folder, setup)
    return {
        door: Way(door, door, ws_address, (detector, bridge))
        if door.startswith("ws-")
        else Way(door, door, grpc_address, (detector,))
        for door in DOORS
    }
