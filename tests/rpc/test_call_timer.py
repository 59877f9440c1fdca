"""Unary calls, measured by their method and by how they ended."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from detector_service import engines
from tests.engines import gated
from tests.servers import Running, connected, serving, until
from tests.telemetry.pages import scrape

DETECT = "crowd.detector.v1.DetectorService/Detect"
COUNT = "crowd_detector_call_duration_seconds_count"


async def calls(running: Running) -> dict[tuple[str, str], float]:
    """Return how many calls there were, by method and status."""
    page = await scrape(f"http://127.0.0.1:{running.server.admin_port}/metrics")
    return {
        (sample.labels["rpc_method"], sample.labels["rpc_response_status_code"]): sample.value
        for sample in page["crowd_detector_call_duration_seconds"].samples
        if sample.name == COUNT
    }


async def test_calls_are_told_apart_by_how_they_ended(photo: bytes, tmp_path: Path) -> None:
    """Those too that never came to the service; what is no method of it is not measured."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    bearer = (("authorization", "Bearer secret"),)
    good, bad = (pb.DetectRequest(frame=pb.Frame(encoded=image)) for image in (photo, b"no image"))
    async with serving(admin_port=0, auth_tokens_file=tokens) as running:
        async with grpc.aio.insecure_channel(running.address) as channel:
            stub = channel.unary_unary(
                f"/{DETECT}", pb.DetectRequest.SerializeToString, pb.DetectResponse.FromString
            )
            unknown: Any = channel.unary_unary("/crowd.detector.v1.DetectorService/MadeUp")
            await stub(good, metadata=bearer)
            for call in (stub(bad, metadata=bearer), stub(good), unknown(b"", metadata=bearer)):
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        seen = await calls(running)
        refusals = running.server.stats.refusals
    assert seen == {
        (DETECT, "OK"): 1,
        (DETECT, "INVALID_ARGUMENT"): 1,
        (DETECT, "UNAUTHENTICATED"): 1,
        ("grpc.health.v1.Health/Check", "OK"): 1,
    }
    assert refusals[pb.ERROR_REASON_UNAUTHENTICATED] == 1


async def test_a_call_whose_caller_leaves_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Whether it left or its deadline passed."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with (
        serving(workers=1, admin_port=0) as running,
        connected(running.address) as stub,
    ):
        gated.faults.close_gate()
        call = stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        await until(lambda: running.server.stats.received == 1)
        call.cancel()
        await until(lambda: running.server.stats.abandoned == 1)
        gated.faults.open.set()
        async with asyncio.timeout(30):
            while not (seen := await calls_if_any(running)):
                await asyncio.sleep(0.1)
    assert seen == {(DETECT, "CANCELLED"): 1}


async def calls_if_any(running: Running) -> dict[tuple[str, str], float]:
    """Return what `calls` does; nothing where there were none yet."""
    try:
        return await calls(running)
    except KeyError:
        return {}
