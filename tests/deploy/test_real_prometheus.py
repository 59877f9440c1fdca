"""A real Prometheus takes the figures of both processes: panels have data, and alerts fire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import promql_parser
import pytest
from crowd.detector.v1 import detector_pb2 as pb

from detector_service import engines
from tests.both import Both, both_telling, detect
from tests.bridge.bridges import bridging
from tests.deploy import files, promql
from tests.deploy.prometheus_server import Prometheus, prometheus
from tests.engines import gated
from tests.servers import connected, serving

pytestmark = pytest.mark.needs("prometheus", "prometheus")


@asynccontextmanager
async def working(both: Both, photo: bytes) -> AsyncIterator[None]:
    """Have frames looked at all the time."""

    async def work() -> None:
        while True:
            await detect(both.stub, photo)

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


async def test_panels_have_data(monkeypatch: pytest.MonkeyPatch, photo: bytes, tmp_path: Path) -> None:
    """Whatever is asked for has series; what need not be without a result has one; no rule fails."""
    async with (
        both_telling(monkeypatch, photo) as both,
        working(both, photo),
        prometheus(tmp_path, [both.detector], [both.bridge]) as server,
    ):
        await has(server, "min(count_over_time(up[1m]) * up)", 4)
        known = {
            series["metric"]["__name__"] for series in await server.query('{job=~"crowd-.+"}')
        }
        assert promql.METRICS.keys() - known <= {"ALERTS"}
        for each in (*files.panel_expressions(), *files.alert_expressions()):
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
        assert await server.firing() == {}


async def test_alerts_of_a_detector_whose_engine_fails(
    monkeypatch: pytest.MonkeyPatch, photo: bytes, tmp_path: Path
) -> None:
    """They fire, those of the bridge before it, too, and say where; while all was well there was none."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with (
        serving(admin_port=0, health_interval=0.1) as detector,
        bridging(detector.address) as bridge,
        connected(detector.address) as stub,
        prometheus(
            tmp_path,
            [f"127.0.0.1:{detector.server.admin_port}"],
            [f"127.0.0.1:{bridge.port}", "127.0.0.1:1"],
        ) as server,
    ):
        await has(server, 'count(ALERTS{alertname="CrowdTargetDown", alertstate="firing"})', 1)
        assert set(await server.firing()) == {"CrowdTargetDown"}  # nobody is at the last address
        gated.faults.fail_with = RuntimeError("CUDA error: an illegal memory access")
        expected = {
            "CrowdTargetDown",
            "CrowdDetectorNotReady",
            "CrowdDetectorNoResults",
            "CrowdInferenceFailed",
            "CrowdBridgeWithoutDetector",
            "CrowdBridgeDetectorLost",
        }
        async with asyncio.timeout(60):
            while not expected <= (firing := await server.firing()).keys():
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
                await asyncio.sleep(0.1)
    for name, alert in firing.items():
        told = alert["annotations"]
        assert alert["labels"]["instance"] in told["summary"], name
        for text in told.values():
            assert "<error" not in text
            assert "<no value>" not in text
