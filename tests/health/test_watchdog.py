"""The process of a stuck engine ends, and is started again."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import grpc
import psutil
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import AsyncDetectorClient
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bridge import ports
from bridge.supervisor import Command, Supervisor
from tests.servers import ROOT, connected, service_process, until
from tests.telemetry.otlp_receiver import collecting

MODULE = "tests.engines.hanging_service"
QUICK = {"HEALTH_INTERVAL": "0.2", "WATCHDOG_TIMEOUT": "2", "WORKERS": "2"}


async def test_a_stuck_engine_ends_the_process_with_70(photo: bytes) -> None:
    """It is not healthy before; its threads hang, and nothing waits for them; the log says where they are."""
    async with service_process(module=MODULE, **QUICK) as service:
        await service.serves()
        service.signal(signal.SIGUSR1)
        async with grpc.aio.insecure_channel(service.address) as channel:
            request = health_pb2.HealthCheckRequest()
            seen = 0
            with pytest.raises(grpc.aio.AioRpcError):
                async for answer in health_pb2_grpc.HealthStub(channel).Watch(request):
                    seen = answer.status
        assert await service.ended() == 70
    assert seen == health_pb2.HealthCheckResponse.NOT_SERVING
    records = [json.loads(line) for line in service.errors.splitlines() if line.startswith("{")]
    events = [record["event"] for record in records]
    assert "health.not_ready" in events[: events.index("worker.stuck")]
    stuck = records[events.index("worker.stuck")]
    assert stuck["seconds"] > 2
    assert "start (gated.py:" in stuck["at"]


async def test_an_engine_that_always_fails_ends_the_process_with_70(photo: bytes) -> None:
    """As after an error of CUDA's that stays: a new process begins without it. What led to that is exported."""
    async with collecting() as collector:
        exporting = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.address,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        async with service_process(module=MODULE, **QUICK, **exporting) as service:
            await service.serves()
            service.signal(signal.SIGUSR2)
            async with connected(service.address) as stub:
                with pytest.raises(grpc.aio.AioRpcError):
                    while True:
                        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
            assert await service.ended() == 70
        assert collector.named("detect_frame")[-1].attributes["error.type"] == "INFERENCE_FAILED"
    records = [json.loads(line) for line in service.errors.splitlines() if line.startswith("{")]
    events = [record["event"] for record in records]
    assert events.index("health.not_ready") < events.index("health.given_up")
    assert "frame.failed" in events


async def test_a_stuck_engine_holds_up_no_drain(photo: bytes) -> None:
    """SIGTERM ends the service, even where a frame never comes back."""
    async with service_process(module=MODULE, **QUICK, DRAIN_TIMEOUT="0.1") as service:
        await service.serves()
        service.signal(signal.SIGUSR1)
        async with connected(service.address) as stub:
            held = asyncio.ensure_future(
                stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
            )
            while (await stub.GetStats(pb.GetStatsRequest())).frames_received < 1:
                pass
            service.signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError):
                await held
        assert await service.ended() == 70


async def test_the_supervisor_starts_it_again(
    photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it serves again, at the same address."""
    port = ports.free("127.0.0.1")
    environment = QUICK | {
        "HOST": "127.0.0.1",
        "GRPC_PORT": str(port),
        "ADMIN_PORT": "off",
        "LOG_FILE": str(tmp_path / "app.log"),
        "PYTHONPATH": ":".join(map(str, (ROOT, ROOT / "clients" / "python", ROOT / "protos"))),
    }
    command = Command("detector-service", [sys.executable, "-m", MODULE], environment)
    said: list[str] = []
    ready = asyncio.Event()
    monkeypatch.chdir(tmp_path)
    supervisor = Supervisor([[command]], said.append, ready.set)
    running = asyncio.create_task(supervisor.run())
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        # Other tests may have left helpers of libraries' own beside it.
        (detector,) = (child for child in psutil.Process().children() if MODULE in child.cmdline())
        detector.send_signal(signal.SIGUSR1)
        await until(lambda: said)
        assert said == ["detector-service ended with code 70; it is started again in 0.5 s"]
        async with AsyncDetectorClient(f"127.0.0.1:{port}") as client:
            await client.wait_until_ready(60)
            assert (await client.detect(photo)).faces
    finally:
        supervisor._on_signal(signal.SIGTERM)
        assert await running == 0
