"""The unary calls over a real channel: answers, refusals, load, and callers that leave."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc
import psutil
import pytest
from crowd.detector.v1 import detector_pb2 as pb

from detector_service import engines
from tests.engines import gated
from tests.servers import Running, connected, details_of, serving, until


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A service with one worker and room for four images, whose engine does as the test tells it."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1, max_queued_frames=4, max_batch_frames=4) as running:
        yield running


def request(data: bytes) -> pb.DetectRequest:
    """Make a request of an image."""
    return pb.DetectRequest(frame=pb.Frame(frame_id="f", encoded=data))


async def at_the_gate() -> None:
    """Wait until a worker is at the gate."""
    assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)


async def test_detect_answers_with_what_was_found(photo: bytes) -> None:
    """A person and a face, counted, with the frame's id and size."""
    async with serving() as running, connected(running.address) as stub:
        result = (await stub.Detect(request(photo))).result
        stats = await stub.GetStats(pb.GetStatsRequest())
    assert (result.frame.frame_id, result.frame.sequence) == ("f", 1)
    assert result.crowd.face_count == len(result.faces) >= 1
    assert result.crowd.total_people == max(len(result.faces), len(result.bodies))
    assert result.crowd.crowd_level != pb.CROWD_LEVEL_UNSPECIFIED
    assert 0 < result.crowd.density_score < 1
    confidences = [face.confidence for face in result.faces]
    assert confidences == sorted(confidences, reverse=True)
    assert stats.total_frames_processed == stats.frames_received == 1
    assert stats.average_processing_time == result.processing_time


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pb.Frame(), "IMAGE_MISSING"),
        (pb.Frame(encoded=b"hello"), "UNSUPPORTED_IMAGE"),
        (
            pb.Frame(encoded=b"x", settings=pb.DetectionSettings(confidence_threshold=math.nan)),
            "INVALID_SETTINGS",
        ),
        (pb.Frame(encoded=b"x", camera="c" * 257), "INVALID_REQUEST"),
    ],
)
async def test_detect_refuses_bad_frames(frame: pb.Frame, reason: str) -> None:
    """INVALID_ARGUMENT with the reason and the field."""
    async with serving() as running, connected(running.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Detect(pb.DetectRequest(frame=frame))
        assert running.server.stats.errors.total() == 1
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).reason == reason
    assert details_of(refused.value).fields == ["frame"]


async def test_a_failing_model_is_an_internal_error(service: Running, photo: bytes) -> None:
    """INTERNAL, and the service goes on."""
    async with connected(service.address) as stub:
        gated.faults.fail_with = RuntimeError("out of luck")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Detect(request(photo))
        gated.faults.fail_with = None
        assert (await stub.Detect(request(photo))).result.faces
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert details_of(failed.value).reason == "INFERENCE_FAILED"


async def test_a_batch_is_answered_image_by_image(photo: bytes) -> None:
    """In the order sent, a bad one with its error, settings of the call where a frame has none."""
    high, low = (
        pb.DetectionSettings(confidence_threshold=0.99),
        pb.DetectionSettings(confidence_threshold=0.5),
    )
    frames = [
        pb.Frame(frame_id="a", encoded=photo),
        pb.Frame(frame_id="b", encoded=b"broken"),
        pb.Frame(frame_id="c", encoded=photo, settings=low),
    ]
    async with serving() as running, connected(running.address) as stub:
        outcomes = (
            await stub.BatchDetect(pb.BatchDetectRequest(frames=frames, settings=high))
        ).outcomes
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["result", "error", "result"]
    assert [len(outcome.result.faces) > 0 for outcome in outcomes] == [False, False, True]
    assert outcomes[1].error.frame.frame_id == "b"
    assert outcomes[1].error.reason == pb.ERROR_REASON_UNSUPPORTED_IMAGE


@pytest.mark.parametrize("count", [0, 5])
async def test_a_batch_of_no_or_too_many_images_is_refused(service: Running, count: int) -> None:
    """The field and what is allowed are named."""
    async with connected(service.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="1 to 4 frames") as refused:
            await stub.BatchDetect(pb.BatchDetectRequest(frames=[pb.Frame()] * count))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).fields == ["frames"]


async def test_more_than_can_be_served_soon_is_refused(service: Running, photo: bytes) -> None:
    """RESOURCE_EXHAUSTED says when to try again; what was accepted is answered."""
    async with connected(service.address) as stub:
        gated.faults.close_gate()
        accepted = [asyncio.ensure_future(stub.Detect(request(photo))) for _ in range(4)]
        await until(lambda: service.server.stats.received == 4)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Detect(request(photo))
        gated.faults.open.set()
        answers = await asyncio.gather(*accepted)
        again = await stub.Detect(request(photo))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    details = details_of(refused.value)
    assert details.reason == "OVERLOADED"
    assert details.retry_after is not None
    assert 0.1 <= details.retry_after <= 10
    assert all(answer.result.faces for answer in answers)
    assert again.result.faces


async def test_work_for_a_caller_that_left_is_not_done(service: Running, photo: bytes) -> None:
    """A cancelled call and one past its deadline give up their places."""
    async with connected(service.address) as stub:
        gated.faults.close_gate()
        first = asyncio.ensure_future(stub.Detect(request(photo)))
        await at_the_gate()
        cancelled = stub.Detect(request(photo))
        late = asyncio.ensure_future(stub.Detect(request(photo), timeout=3))
        await until(lambda: service.server.stats.received == 3)
        cancelled.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await late
        await until(lambda: service.server.stats.abandoned == 2)
        gated.faults.open.set()
        await first
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gated.faults.inferences == 2  # the warm-up and the first call's


async def test_model_info_tells_what_serves() -> None:
    """Both roles are filled by the model that ships, and all of its figures are given."""
    async with serving() as running, connected(running.address) as stub:
        info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    for model, counted in ((info.face_model, "face"), (info.body_model, "person")):
        assert model.loaded
        assert model.embedded
        assert model.path.endswith("crowd-n.onnx")
        assert (model.device, model.format, model.engine) == ("cpu", "onnx", "openvino")
        assert model.precision in ("fp32", "bf16")
        assert list(model.classes) == ["person", "face"]
        assert list(model.counted_classes) == [counted]
        assert (model.input_size, model.stride) == (416, 32)
        assert len(model.content_sha256) == 64
        assert model.warm_up_time.ToNanoseconds() > 0


async def test_stats_tell_what_was_done(service: Running, photo: bytes) -> None:
    """Counts by outcome, what waits, means, memory and uptime."""
    async with connected(service.address) as stub:
        await stub.Detect(request(photo))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Detect(request(b"broken"))
        gated.faults.close_gate()
        waiting = [asyncio.ensure_future(stub.Detect(request(photo))) for _ in range(3)]
        await until(lambda: service.server.stats.received == 5)
        await at_the_gate()
        stats = await stub.GetStats(pb.GetStatsRequest())
        gated.faults.open.set()
        await asyncio.gather(*waiting)
    assert (stats.total_frames_processed, stats.frames_received, stats.queued_frames) == (1, 5, 2)
    assert list(stats.errors) == [pb.ErrorCount(reason=pb.ERROR_REASON_UNSUPPORTED_IMAGE, count=1)]
    assert stats.active_streams == 0
    assert stats.uptime.ToNanoseconds() > 0
    assert stats.average_stage_times.inference.ToNanoseconds() > 0
    resident = psutil.Process().memory_info().rss
    assert stats.resident_memory_bytes == pytest.approx(resident, rel=0.2)


async def test_calls_that_are_not_there_yet_say_so() -> None:
    """They are part of the contract; UNIMPLEMENTED, by name."""
    async with serving() as running, connected(running.address) as stub:
        calls: dict[str, Awaitable[Any]] = {
            "ReportAlert": stub.ReportAlert(pb.ReportAlertRequest()),
            "QueryHistory": stub.QueryHistory(pb.QueryHistoryRequest()),
            "WatchAlerts": stub.WatchAlerts(pb.WatchAlertsRequest()).read(),
        }
        for name, call in calls.items():
            with pytest.raises(grpc.aio.AioRpcError, match=name) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
            assert details_of(refused.value).reason == "NOT_IMPLEMENTED"


async def test_a_message_over_the_limit_is_refused(photo: bytes) -> None:
    """The limit is gRPC's own: it refuses it, and the service goes on."""
    async with (
        serving(max_message_bytes=200_000, max_frame_bytes=100_000) as running,
        connected(running.address) as stub,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Detect(request(photo + b"\0" * 200_000))
        assert (await stub.Detect(request(photo))).result.faces
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
