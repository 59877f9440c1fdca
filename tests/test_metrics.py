"""The detector's figures on its admin port: what was done, by whom it was asked for, and nothing without bound."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb

from detector_service import engines
from detector_service.metrics import observe_stats
from detector_service.stats import Stats
from detector_service.timings import Timings
from telemetry.metrics import Metrics
from telemetry.settings import OtelSettings
from tests.engines import gated
from tests.servers import Running, connected, serving, until
from tests.telemetry.pages import Page, parsed, scrape, value


@asynccontextmanager
async def telling(**settings: Any) -> AsyncIterator[Running]:
    """Run a service with an admin port."""
    async with serving(admin_port=0, **settings) as running:
        yield running


async def page_of(running: Running) -> Page:
    """Return what its admin port tells now."""
    return await scrape(f"http://127.0.0.1:{running.server.admin_port}/metrics")


def counted(stats: Stats) -> Page:
    """Return what is exported of these counts."""
    metrics = Metrics("test", OtelSettings())
    observe_stats(metrics.meter, stats)
    try:
        return parsed(metrics.page().decode())
    finally:
        metrics.close()


async def test_frames_are_counted_as_callers_are_told(photo: bytes) -> None:
    """GetStats and the page have one truth."""
    async with telling() as running, connected(running.address) as stub:
        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        for image in (b"no image", photo[:1000]):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=image)))
        stats = await stub.GetStats(pb.GetStatsRequest())
        page = await page_of(running)
    assert value(page, "crowd_detector_frames_received_total") == stats.frames_received == 3
    assert value(page, "crowd_detector_frames_processed_total") == stats.total_frames_processed == 1
    told = {pb.ErrorReason.Name(error.reason): error.count for error in stats.errors}
    assert told == {"ERROR_REASON_UNSUPPORTED_IMAGE": 1, "ERROR_REASON_TRUNCATED_IMAGE": 1}
    for reason, count in told.items():
        name = reason.removeprefix("ERROR_REASON_")
        assert value(page, "crowd_detector_frames_failed_total", reason=name) == count
        assert value(page, "crowd_detector_calls_refused_total", reason=name) == count
    assert value(page, "crowd_detector_frames_failed_total", reason="INFERENCE_FAILED") == 0


async def test_the_stages_of_a_frame_are_measured(photo: bytes) -> None:
    """Their sums are what the answer says they took."""
    async with telling() as running, connected(running.address) as stub:
        frame = pb.Frame(encoded=photo)
        frame.capture_time.FromMilliseconds(round(time.time() * 1000) - 2_000)
        result = (await stub.Detect(pb.DetectRequest(frame=frame))).result
        page = await page_of(running)
    for stage in ("queued", "decode", "inference", "post_processing"):
        took = getattr(result.stage_times, stage).ToNanoseconds() / 1e9
        name = "crowd_detector_frame_stage_duration_seconds"
        assert value(page, f"{name}_count", stage=stage) == 1
        assert value(page, f"{name}_sum", stage=stage) == pytest.approx(took)
    took = result.processing_time.ToNanoseconds() / 1e9
    assert value(page, "crowd_detector_frame_duration_seconds_sum") == pytest.approx(took)
    assert value(page, "crowd_detector_result_age_seconds_sum") >= 2


@pytest.mark.parametrize("seconds", [-60, 7200])
def test_an_age_that_cannot_be_is_no_age(seconds: int) -> None:
    """A clock that goes wrong is counted, and spoils no mean."""
    metrics = Metrics("test", OtelSettings())
    stats = Stats(Timings(metrics.meter))
    result = pb.FrameResult()
    result.frame.capture_time.FromSeconds(round(time.time()) - seconds)
    stats.answered(result)
    page = parsed(metrics.page().decode())
    metrics.close()
    assert "crowd_detector_result_age_seconds" not in page
    assert value(counted(stats), "crowd_detector_results_misdated_total") == 1


def test_all_values_of_an_enum_are_there_from_the_start() -> None:
    """A series that began with 1 would have no rate; those of a later contract are one."""
    drops: Counter[Any] = Counter({99: 2, 98: 1, pb.DROP_REASON_LATE: 4})
    page = counted(Stats(drops=drops))
    told = {
        sample.labels["reason"]: sample.value
        for sample in page["crowd_detector_frames_dropped"].samples
    }
    names = {name.removeprefix("DROP_REASON_") for name in pb.DropReason.keys()}  # noqa: SIM118 - no mapping
    assert set(told) == names - {"UNSPECIFIED"} | {"OTHER"}
    assert (told["LATE"], told["OTHER"], told["SUPERSEDED"]) == (4, 3, 0)


async def test_waiting_frames_and_busy_workers_are_told(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """As they are at that moment."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with telling(workers=1) as running, connected(running.address) as stub:
        gated.faults.close_gate()
        frames = [pb.Frame(encoded=photo)] * 3
        call = asyncio.ensure_future(stub.BatchDetect(pb.BatchDetectRequest(frames=frames)))
        workers = running.server._workers
        assert workers is not None
        await until(lambda: len(workers.in_work()) == 1 and workers.waiting == 2)
        page = await page_of(running)
        gated.faults.open.set()
        await call
    assert value(page, "crowd_detector_workers", state="busy") == 1
    assert value(page, "crowd_detector_workers", state="idle") == 0
    assert value(page, "crowd_detector_queue_frames") == 2
    assert value(page, "crowd_detector_queue_size_bytes") == 2 * frames[0].ByteSize()


async def test_a_reload_takes_no_batches_back() -> None:
    """A counter that fell would be taken for a process that began anew."""
    async with telling() as running:
        detector = running.server._detector
        assert detector is not None
        detector.models[0].engine.batches.update({1: 5, 8: 2})  # as an engine with batches does
        await running.server.reload()
        page = await page_of(running)
    assert value(page, "crowd_detector_engine_batches_total", images="8") == 2
    assert value(page, "crowd_detector_engine_batches_total") == 7
    assert value(page, "crowd_detector_model_info", role="face", engine="openvino") == 1


async def test_nor_while_a_frame_is_still_at_the_old_models(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """What these have done until then counts meanwhile, and what they do yet counts as well."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    monkeypatch.setattr("telemetry.page.FRESH_SECONDS", 0.0)
    async with telling(workers=1) as running, connected(running.address) as stub:
        old, gate = running.server._detector, gated.faults
        assert old is not None
        batches = old.models[0].engine.batches
        batches.update({8: 2})  # as an engine with batches does
        gate.close_gate()
        held = asyncio.ensure_future(stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo))))
        await asyncio.to_thread(gate.entered.acquire)
        reload = asyncio.create_task(running.server.reload())
        await until(lambda: running.server._detector is not old)
        page = await page_of(running)
        assert value(page, "crowd_detector_engine_batches_total") == 2
        batches.update({8: 1})
        gate.open.set()
        await held
        await reload
        page = await page_of(running)
    assert value(page, "crowd_detector_engine_batches_total") == 3


async def test_before_the_models_serve_there_is_a_page() -> None:
    """Whoever looks on learns that the process lives, and that it is not ready."""
    async with telling(load=False) as running:
        page = await page_of(running)
    assert value(page, "crowd_detector_ready") == 0
    assert value(page, "crowd_detector_frames_received_total") == 0
    assert "crowd_detector_model_info" not in page


async def test_readiness_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As health has it: an engine that only fails takes it away."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with telling(health_interval=0.1) as running:
        assert value(await page_of(running), "crowd_detector_ready") == 1
        gated.faults.fail_with = RuntimeError("CUDA error: an illegal memory access")
        async with asyncio.timeout(60):
            while value(await page_of(running), "crowd_detector_ready"):
                await asyncio.sleep(0.1)
