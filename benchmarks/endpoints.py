"""Where a contender that runs takes frames, and the order to the load generator to send it some."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import service
from benchmarks.children import Child, ChildFailedError
from benchmarks.contender import Figures
from benchmarks.setups import Setup

#: The service's transports; its rows are named after them.
TRANSPORTS: Final = ("stream", "unary", "ws-json", "ws-binary")

_SLACK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One transport of a contender.

    Attributes:
        contender: as its rows are named.
        transport: how frames are sent.
        address: where to.
        children: the processes that serve it, whose time and memory count.
    """

    contender: str
    transport: str
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
            transport=self.transport,
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


def service_endpoints(stack: ExitStack, folder: Path, setup: Setup) -> dict[str, Endpoint]:
    """Start the service, which ends with the stack; return its transports by name."""
    detector, grpc_address, bridge, ws_address = service.start(stack, folder, setup)
    return {
        transport: Endpoint(transport, transport, ws_address, (detector, bridge))
        if transport.startswith("ws-")
        else Endpoint(transport, transport, grpc_address, (detector,))
        for transport in TRANSPORTS
    }
