"""A real Prometheus takes the figures of both processes: panels have data, and alerts fire."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import promql_parser
import pytest
from crowd.detector.v1 import detector_pb2 as pb

from tests.both import Both, both_telling, detect
from tests.bridge.bridges import bridging
from tests.deploy import files, promql
from tests.deploy.prometheus_server import Prometheus, prometheus
from tests.servers import connected, service_process

pytestmark = pytest.mark.needs("prometheus", "prometheus")

#: An address where nobody listens.
NOBODY = "127.0.0.1:1"
#: What fires where a detector has stopped answering while a camera goes on.
EXPECTED = {
    "CrowdTargetDown",
    "CrowdDetectorNotReady",
    "CrowdDetectorNoResults",
    "CrowdFramesDropped",
    "CrowdWorkersSaturated",
    "CrowdBridgeWithoutDetector",
    "CrowdBridgeDetectorLost",
}


@asynccontextmanager
async def working(both: Both, photo: bytes) -> AsyncIterator[None]:
    """Have frames looked at, some a second."""

    async def work() -> None:
        while True:
            await detect(both.stub, photo)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await task


async def has(server: Prometheus, expression: str, least: float) -> None:
    """Wait until an expression has this value at least."""
    async with asyncio.timeout(60):
        while await server.value(expression) < least:
            await asyncio.sleep(0.2)


async def test_panels_have_data(
    monkeypatch: pytest.MonkeyPatch, photo: bytes, tmp_path: Path
) -> None:
    """Whatever is asked for has series; what need not be without a result has one; no rule fails."""
    async with (
        both_telling(monkeypatch, photo) as both,
        working(both, photo),
        prometheus(tmp_path, [both.detector], [both.bridge]) as server,
    ):
        await has(server, "min(count_over_time(up[1m]) * up)", 4)
        known = {series["metric"]["__name__"] for series in await server.query('{job=~"crowd-.+"}')}
        assert promql.METRICS.keys() - known <= {"ALERTS"}
        for each in (*files.OF_PANELS, *files.OF_RULES):
            instances = [both.detector, both.bridge] if "$instance" in each.text else [""]
            texts = [
                files.filled_in(each.text, instance=i, detector=both.detector, bridge=both.bridge)
                for i in instances
            ]
            found = [sample for text in texts for sample in await server.query(text)]
            parsed = [promql_parser.parse(text) for text in texts]
            for alike in zip(*map(promql.selectors, parsed), strict=True):
                asked = " or ".join(f"{selector.name}{selector.matchers}" for selector in alike)
                assert "ALERTS" in asked or await server.query(asked), (each, asked)
            assert found or promql.has_comparison(parsed[0]) or "ALERTS" in each.text, each
        rules = await server.rules()
        assert {rule["health"] for rule in rules} == {"ok"}
        assert await server.critical() == set()


async def test_alerts_of_a_detector_whose_engine_hangs(photo: bytes, tmp_path: Path) -> None:
    """They fire, and those of the bridge before it, and say where; while all was well there was no critical one."""
    async with (
        service_process(
            module="tests.engines.hanging_service",
            ADMIN_PORT="0",
            HEALTH_INTERVAL="0.2",
            WATCHDOG_TIMEOUT="0",
            WORKERS="2",
        ) as detector,
        AsyncExitStack() as stack,
    ):
        await detector.serves("admin.listening")
        figures = detector.address
        await detector.serves()
        bridge = await stack.enter_async_context(bridging(detector.address))
        stub = await stack.enter_async_context(connected(detector.address))
        server = await stack.enter_async_context(
            prometheus(tmp_path, [figures], [f"127.0.0.1:{bridge.port}", NOBODY])
        )
        await has(server, 'count(ALERTS{alertname="CrowdTargetDown", alertstate="firing"})', 1)
        assert await server.critical() == {"CrowdTargetDown"}  # of NOBODY
        detector.signal(signal.SIGUSR1)
        camera = stub.StreamDetections()
        async with asyncio.timeout(60):
            while not (firing := await server.firing()).keys() >= EXPECTED:
                await camera.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
                await asyncio.sleep(0.1)
        camera.cancel()
    for name, alert in firing.items():
        told = alert["annotations"]
        assert alert["labels"]["instance"] in told["summary"], name
        for text in told.values():
            assert "<error" not in text
            assert "<no value>" not in text
