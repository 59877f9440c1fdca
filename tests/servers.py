"""Real services for tests: in this process, or as a process of their own; always on a free port."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from crowd.detector.v1 import detector_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from detector_service.__main__ import _traces
from detector_service.server import DetectorServer
from detector_service.settings import load_settings
from telemetry import tracing
from telemetry.metrics import Metrics
from telemetry.settings import OtelSettings

ROOT = Path(__file__).resolve().parent.parent
_AT_A_FREE_PORT = {
    "HOST": "127.0.0.1",
    "GRPC_PORT": "0",
    "ADMIN_PORT": "off",
    "PORT": "0",
    # As pytest has it, so that what is started is what is tested.
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "clients" / "python", ROOT / "protos"))),
}


@dataclass(frozen=True)
class Running:
    """A service in this process."""

    server: DetectorServer
    address: str


@asynccontextmanager
async def serving(*, load: bool = True, **settings: Any) -> AsyncIterator[Running]:
    """Run a service in this process; what is not set has its default. With an admin port it has metrics.

    It looks at no picture of its own, for tests count what its engine does.
    """
    known = {"host": "127.0.0.1", "grpc_port": 0, "admin_port": "off", "health_interval": 0}
    effective = load_settings(_env_file=None, **(known | settings))
    telling = effective.admin_port != "off"
    otel = OtelSettings()
    metrics = Metrics("crowd-detector", otel) if telling else None
    tracer = tracing.start("crowd-detector", otel, metrics)
    server = DetectorServer(effective, metrics, _traces(tracer))
    try:
        port = await server.listen()
        if load:
            await server.load()
        yield Running(server, f"127.0.0.1:{port}")
    finally:
        await server.drain()
        for each in (metrics, tracer):
            if each is not None:
                await asyncio.to_thread(each.close)


@asynccontextmanager
async def connected(
    address: str, options: list[tuple[str, int]] | None = None
) -> AsyncIterator["detector_pb2_grpc.DetectorServiceAsyncStub"]:
    """Connect in plain text."""
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield detector_pb2_grpc.DetectorServiceStub(channel)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that nothing announces; never for a time."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Details:
    """What a refused call carries besides its status."""

    reason: str
    retry_after: float | None
    fields: list[str]


def details_of(error: grpc.aio.AioRpcError) -> Details:
    """Read the google.rpc details of a refused call."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    reason, retry_after, fields = "", None, []
    for packed in status.details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
            assert info.domain == "crowd.detector.v1"
            reason = info.reason
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            packed.Unpack(bad)
            fields = [violation.field for violation in bad.field_violations]
    return Details(reason, retry_after, fields)


class Process:
    """A service as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.address = ""
        self.errors = ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its exit code."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            self.errors += (await self.process.stderr.read()).decode()
            return await self.process.wait()

    async def serves(self, event: str = "service.serving") -> None:
        """Wait until it says that it serves, and learn its address."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                self.errors += line
                if f'"event": "{event}"' in line:
                    port = re.search(r'"address": "127\.0\.0\.1:(\d+)"', line)
                    assert port is not None, line
                    self.address = f"127.0.0.1:{port[1]}"
                    return
        raise AssertionError(f"it ended before it served:\n{self.errors}")


@asynccontextmanager
async def service_process(
    *arguments: str, module: str = "detector_service", **environment: str
) -> AsyncIterator[Process]:
    """Start `detector-service`, or another command, with these variables; it is ended when the test is."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "app.log"
        known = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", folder)}
        if "PYTHONPATH" in os.environ:  # a checkout that is not the installed one
            known["PYTHONPATH"] = os.environ["PYTHONPATH"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=known | _AT_A_FREE_PORT | {"LOG_FILE": str(log)} | environment,
            start_new_session=True,  # whoever runs the tests is not of its session, as in real life
        )
        try:
            yield Process(process, log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
