"""More than can be served, over a real channel: who gets what, what is dropped, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from detector_service import engines
from tests.engines import gated
from tests.rpc.test_stream import Call, frame, held_inference, opened, received, rest
from tests.servers import Running, connected, details_of, serving, until

Request = pb.StreamDetectionsRequest


@asynccontextmanager
async def gated_service(
    monkeypatch: pytest.MonkeyPatch, workers: int = 1, **settings: Any
) -> AsyncIterator[Running]:
    """A service whose engine does as the test tells it."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=workers, **settings) as running:
        yield running


async def configured(call: Call, **config: object) -> None:
    """Configure a stream."""
    await call.write(Request(config=pb.StreamConfig(**config)))  # type: ignore[arg-type]
    await call.read()


def in_order_of_completion(results: Sequence[pb.FrameResult]) -> list[str]:
    """Return the ids of frames as they were done."""
    done = sorted(results, key=lambda result: result.completed_time.ToNanoseconds())
    return [result.frame.frame_id for result in done]


async def test_a_priority_is_a_share(monkeypatch: pytest.MonkeyPatch, photo: bytes) -> None:
    """Of two streams with frames waiting, the one of twice the priority gets about twice as many done."""
    async with gated_service(monkeypatch) as service, connected(service.address) as stub:
        holding, low, high = [await opened(stub) for _ in range(3)]
        await configured(low, buffer_frames=32)
        await configured(high, buffer_frames=32, priority=20)
        gated.faults.close_gate()
        await holding.write(frame("first", photo))
        await held_inference()
        for _ in range(30):
            await low.write(frame("low", photo))
            await high.write(frame("high", photo))
        await received(service, 61)
        gated.faults.open.set()
        answers = [*await rest(low), *await rest(high)]
    order = in_order_of_completion([each.result for each in answers if each.HasField("result")])
    assert 15 <= order[:30].count("high") <= 25  # 20 but for what the frames really took


async def test_a_flood_of_unary_calls_is_one_among_the_streams(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """However many callers there are, together they take no more from a stream than another stream would."""
    async with gated_service(monkeypatch) as service, connected(service.address) as stub:
        holding, stream = await opened(stub), await opened(stub)
        await configured(stream, buffer_frames=32)
        gated.faults.close_gate()
        await holding.write(frame("first", photo))
        await held_inference()
        calls = [
            asyncio.ensure_future(
                stub.Detect(pb.DetectRequest(frame=pb.Frame(frame_id="call", encoded=photo)))
            )
            for _ in range(40)
        ]
        await received(service, 41)
        for _ in range(20):
            await stream.write(frame("stream", photo))
        await received(service, 61)
        gated.faults.open.set()
        answers, unary = await asyncio.gather(rest(stream), asyncio.gather(*calls))
    results = [each.result for each in answers if each.HasField("result")]
    order = in_order_of_completion(results + [each.result for each in unary])
    assert 6 <= order[:20].count("stream") <= 14  # 10 but for what the frames really took


async def test_no_work_is_done_for_a_frame_that_would_be_late(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """It is dropped, and counted with its reason; frames without a largest age are answered."""
    async with gated_service(monkeypatch) as service, connected(service.address) as stub:
        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        before = gated.faults.inferences
        call = await opened(stub)
        await configured(call, max_age=Duration(nanos=1_000_000), buffer_frames=8)
        for _ in range(5):
            await call.write(frame("late", photo))
        await call.write(Request(config=pb.StreamConfig(buffer_frames=8)))
        await call.write(frame("in time", photo))
        answers = await rest(call)
    late = pb.DropCount(reason=pb.DROP_REASON_LATE, count=5)
    assert [each.result.frame.frame_id for each in answers if each.HasField("result")] == [
        "in time"
    ]
    assert answers[-1].summary == pb.StreamSummary(frames_received=6, results=1, drops=[late])
    assert sum(drop.count for each in answers for drop in each.drops) == 5
    assert gated.faults.inferences == before + 1
    assert service.server.stats.drops == {pb.DROP_REASON_LATE: 5}


async def test_a_stream_of_which_all_was_late_ends_with_its_summary(photo: bytes) -> None:
    """Nothing waits for answers that will not come."""
    async with serving() as service, connected(service.address) as stub:
        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        call = await opened(stub)
        await configured(call, max_age=Duration(nanos=1_000_000))
        await call.write(frame("late", photo))
        (last,) = await rest(call)
    late = pb.DropCount(reason=pb.DROP_REASON_LATE, count=1)
    assert last.summary == pb.StreamSummary(frames_received=1, drops=[late])
    assert list(last.drops) == [late]


async def test_waiting_bytes_are_bounded_over_all_streams(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """The stream that holds the most gives up its oldest frames, and is told why; the other loses none."""
    limits = {
        "max_frame_bytes": len(photo),
        "max_message_bytes": len(photo) + 65_536,
        "max_buffered_bytes": 2 * (len(photo) + 65_536),
    }
    room = limits["max_buffered_bytes"] // (len(photo) + 50)
    async with gated_service(monkeypatch, **limits) as service, connected(service.address) as stub:
        greedy, modest = await opened(stub), await opened(stub)
        await configured(greedy, buffer_frames=32)
        gated.faults.close_gate()
        await greedy.write(frame("first", photo))
        await held_inference()
        await modest.write(frame("modest", photo))
        await received(service, 2)
        for number in range(10):
            await greedy.write(frame(str(number), photo))
        await received(service, 12)
        gated.faults.open.set()
        answers = await rest(greedy)
        modest_answers = await rest(modest)
    kept = [str(number) for number in range(10)][-(room - 1) :]
    names = [each.result.frame.frame_id for each in answers if each.HasField("result")]
    assert names == ["first", *kept]
    lost = pb.DropCount(reason=pb.DROP_REASON_MEMORY_LIMITED, count=10 - len(kept))
    assert list(answers[-1].summary.drops) == [lost]
    assert modest_answers[-1].summary == pb.StreamSummary(frames_received=1, results=1)


async def test_a_stuck_inference_holds_up_no_other_stream(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Beyond the worker that it holds: the others answer other streams, and its own once it is over."""
    async with gated_service(monkeypatch, workers=2) as service, connected(service.address) as stub:
        stuck, first, second = [await opened(stub) for _ in range(3)]
        gated.faults.hold(1)
        await stuck.write(frame("stuck", photo))
        await held_inference()
        for call in (first, second):
            await configured(call, buffer_frames=32)
            for number in range(8):
                await call.write(frame(str(number), photo))
        others = [*await rest(first), *await rest(second)]
        stats = await stub.GetStats(pb.GetStatsRequest())
        gated.faults.open.set()
        answers = await rest(stuck)
    assert sum(each.HasField("result") for each in others) == 16
    assert stats.total_frames_processed == 16
    assert answers[0].result.frame.frame_id == "stuck"


async def test_a_call_whose_deadline_cannot_be_met_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """RESOURCE_EXHAUSTED with the time to try again, and no work; what one bad moment taught is forgotten."""
    async with gated_service(monkeypatch) as service, connected(service.address) as stub:
        workers = service.server._workers
        assert workers is not None
        workers._queue._service_times.mean = 100.0  # seconds: as if frames took so long
        request = pb.DetectRequest(frame=pb.Frame(encoded=photo))
        before, refusals = gated.faults.inferences, []
        for _ in range(50):
            try:
                answer = await stub.Detect(request, timeout=30)
                break
            except grpc.aio.AioRpcError as error:
                refusals.append(error)
        assert answer.result.faces
        assert gated.faults.inferences == before + 1
        assert (await stub.Detect(request, timeout=30)).result.faces
        assert (await stub.Detect(request)).result.faces
    assert {error.code() for error in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    details = details_of(refusals[0])
    assert details.reason == "OVERLOADED"
    assert details.retry_after == 60
    assert "allow more time" in str(refusals[0].details())


async def test_bytes_of_unary_calls_are_bounded(
    monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """Half of MAX_BUFFERED_BYTES; beyond it calls are refused, and those before are answered."""
    limits = {
        "max_frame_bytes": len(photo),
        "max_message_bytes": len(photo) + 65_536,
        "max_buffered_bytes": 2 * (len(photo) + 65_536),
    }
    room = limits["max_buffered_bytes"] // 2 // (len(photo) + 50)
    async with gated_service(monkeypatch, **limits) as service, connected(service.address) as stub:
        gated.faults.close_gate()
        request = pb.DetectRequest(frame=pb.Frame(encoded=photo))
        calls = [asyncio.ensure_future(stub.Detect(request)) for _ in range(room)]
        await received(service, room)
        with pytest.raises(grpc.aio.AioRpcError, match="MAX_BUFFERED_BYTES") as refused:
            await stub.Detect(request)
        gated.faults.open.set()
        assert all(answer.result.faces for answer in await asyncio.gather(*calls))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(refused.value).retry_after is not None


async def test_each_frame_is_counted_once(photo: bytes) -> None:
    """Answered, refused, dropped for whatever reason, abandoned: together they are what came, however it ended."""
    async with serving() as service, connected(service.address) as stub:
        stats = service.server.stats
        await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))

        async def flood(**config: object) -> Call:
            call = await opened(stub)
            await configured(call, **config)
            for number in range(60):
                await call.write(frame(str(number), b"no image" if number % 5 == 0 else photo))
            return call

        ways: list[dict[str, object]] = [
            {},
            {"buffer_frames": 32, "priority": 100},
            {"max_frame_rate": 10},
            {"max_age": Duration(nanos=20_000_000), "buffer_frames": 8},
        ]
        staying = await asyncio.gather(*(flood(**way) for way in ways))
        leaving = await asyncio.gather(*(flood(**way) for way in ways))
        calls = [
            stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)), timeout=timeout)
            for timeout in (None, 0.001, 30)
            for _ in range(5)
        ]
        for gone in (*leaving, *calls[:3]):
            gone.cancel()
        ends = [(await rest(call))[-1].summary for call in staying]
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: stats.active_streams == 0)
        await until(
            lambda: (
                stats.received
                == stats.processed + stats.errors.total() + stats.drops.total() + stats.abandoned
            )
        )
    for end in ends:
        assert end.frames_received == 60
        assert end.results + end.errors + sum(drop.count for drop in end.drops) == 60
    assert min(stats.processed, stats.errors.total(), stats.drops.total()) > 0
