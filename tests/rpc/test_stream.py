"""StreamDetections over a real channel: order, drops, errors, configuration, and clients that misbehave."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from detector_service import engines
from tests.engines import gated
from tests.servers import Running, connected, details_of, serving, until

Request: TypeAlias = pb.StreamDetectionsRequest
Response: TypeAlias = pb.StreamDetectionsResponse
Call: TypeAlias = "grpc.aio.StreamStreamCall[Request, Response]"


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A service with one worker, whose engine does as the test tells it."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1) as running:
        yield running


async def opened(
    stub: "detector_pb2_grpc.DetectorServiceAsyncStub", timeout: float | None = None
) -> Call:
    """Open a stream."""
    call: Call = stub.StreamDetections(timeout=timeout)
    await call.wait_for_connection()
    return call


async def received(running: Running, frames: int) -> None:
    """Wait until the service has taken in so many frames."""
    await until(lambda: running.server.stats.received >= frames)


async def held_inference() -> None:
    """Wait until a worker is at the gate."""
    assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)


def frame(name: str, data: bytes, **settings: float) -> Request:
    """Make a frame's message."""
    own = pb.DetectionSettings(**settings) if settings else None  # type: ignore[arg-type]
    return Request(frame=pb.Frame(frame_id=name, encoded=data, settings=own))


async def rest(call: Call) -> list[Response]:
    """Half-close, and read what is left."""
    await call.done_writing()
    async with asyncio.timeout(60):
        return [response async for response in responses(call)]


async def responses(
    call: Call,
) -> AsyncIterator[Response]:
    """Read to the end; raises where the call ends with an error."""
    while isinstance(response := await call.read(), Response):
        yield response


def drops(*responses: Response) -> dict[int, int]:
    """Add up the drops that responses tell of."""
    total: dict[int, int] = {}
    for response in responses:
        for drop in response.drops:
            total[drop.reason] = total.get(drop.reason, 0) + drop.count
    return total


async def test_results_come_back_with_what_was_sent(photo: bytes) -> None:
    """A result echoes id, camera, capture time and size, and says what was found and where the time went."""
    sent = pb.Frame(frame_id="f1", camera="door", encoded=photo)
    sent.capture_time.FromMilliseconds(1_640_995_200_000)
    async with serving() as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(Request(frame=sent))
        first, last = await rest(call)
    result = first.result
    about = result.frame
    assert (about.frame_id, about.camera, about.sequence, about.width, about.height) == (
        "f1",
        "door",
        1,
        512,
        512,
    )
    assert about.capture_time == sent.capture_time
    assert result.crowd.face_count == len(result.faces) >= 1
    assert result.crowd.body_count == len(result.bodies) >= 1
    face = result.faces[0].box
    assert 150 < face.x1 < face.x2 < 300
    assert 0 < face.y1 < face.y2 < 200
    times = result.stage_times
    stages = [times.queued, times.decode, times.inference, times.post_processing]
    assert all(stage.ToNanoseconds() > 0 for stage in stages)
    assert sum(stage.ToNanoseconds() for stage in stages) == pytest.approx(
        result.processing_time.ToNanoseconds(), rel=1e-3
    )
    assert last.summary == pb.StreamSummary(frames_received=1, results=1)


async def test_answers_keep_the_order_of_their_frames(photo: bytes) -> None:
    """With several workers, bad frames that are answered quickly do not overtake good ones."""
    async with serving(workers=3) as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(Request(config=pb.StreamConfig(buffer_frames=32)))
        names = [str(number) for number in range(24)]
        for number, name in enumerate(names):
            await call.write(frame(name, photo if number % 3 else b"broken"))
        configured, *answers, last = await rest(call)
    assert configured.HasField("configured")
    assert [
        (a.result.frame if a.HasField("result") else a.error.frame).frame_id for a in answers
    ] == names
    assert last.summary == pb.StreamSummary(frames_received=24, results=16, errors=8)


async def test_a_bad_frame_is_answered_and_the_stream_goes_on(photo: bytes) -> None:
    """Each kind of bad frame has its own reason, and the next good frame its result."""
    raw = pb.RawImage(width=4, height=4, pixel_format=pb.PIXEL_FORMAT_BGR24, data=b"x")
    strange = pb.RawImage(width=4, height=4, pixel_format=77, data=b"x" * 48)  # type: ignore[arg-type]
    bad = [
        (frame("empty", b""), pb.ERROR_REASON_IMAGE_MISSING),
        (Request(frame=pb.Frame(frame_id="none")), pb.ERROR_REASON_IMAGE_MISSING),
        (frame("text", b"hello, world"), pb.ERROR_REASON_UNSUPPORTED_IMAGE),
        (frame("half", photo[:30_000]), pb.ERROR_REASON_TRUNCATED_IMAGE),
        (frame("nan", photo, confidence_threshold=math.nan), pb.ERROR_REASON_INVALID_SETTINGS),
        (frame("over", photo, confidence_threshold=1.5), pb.ERROR_REASON_INVALID_SETTINGS),
        (frame("crowd", photo, crowd_threshold=1_000_001), pb.ERROR_REASON_INVALID_SETTINGS),
        (Request(frame=pb.Frame(frame_id="raw", raw=raw)), pb.ERROR_REASON_RAW_SIZE_MISMATCH),
        (
            Request(frame=pb.Frame(frame_id="enum", raw=strange)),
            pb.ERROR_REASON_UNSUPPORTED_PIXEL_FORMAT,
        ),
        (frame("n" * 257, photo), pb.ERROR_REASON_INVALID_REQUEST),
        (frame("big", photo + b"\0" * 2_000_000), pb.ERROR_REASON_FRAME_TOO_LARGE),
    ]
    async with serving(max_frame_bytes=1_000_000) as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(Request(config=pb.StreamConfig(buffer_frames=32)))
        for request, _ in bad:
            await call.write(request)
        await call.write(frame("good", photo))
        _, *answers, last = await rest(call)
    *errors, good = answers
    assert [answer.error.reason for answer in errors] == [reason for _, reason in bad]
    assert all(answer.error.message for answer in errors)
    assert good.result.frame.frame_id == "good"
    assert last.summary == pb.StreamSummary(
        frames_received=len(bad) + 1, results=1, errors=len(bad)
    )


async def test_frames_before_configuration_have_the_service_s_settings(photo: bytes) -> None:
    """Then the stream's settings apply, then those a frame brings for itself alone."""
    async with serving(crowd_threshold=0) as running, connected(running.address) as stub:
        call = await opened(stub)
        config = pb.StreamConfig(
            camera="gate",
            buffer_frames=8,
            settings=pb.DetectionSettings(crowd_threshold=100, confidence_threshold=0.8),
        )
        await call.write(frame("before", photo))
        first = await call.read()
        await call.write(Request(config=config))
        await call.write(frame("after", photo))
        await call.write(frame("own", photo, crowd_threshold=0))
        await call.write(frame("again", photo))
        configured, after, own, again, _ = await rest(call)
    assert isinstance(first, Response)
    assert [alert.type for alert in first.result.alerts] == [pb.ALERT_TYPE_CROWD_WARNING]
    alert = first.result.alerts[0]
    assert alert.level == pb.ALERT_LEVEL_WARNING
    assert (alert.total_people, alert.crowd_threshold) == (first.result.crowd.total_people, 0)
    assert configured.configured.camera == "gate"
    assert configured.configured.priority == 10
    assert not configured.configured.HasField("max_age")
    assert configured.configured.settings.crowd_threshold == 100
    assert after.result.frame.camera == "gate"
    assert not after.result.alerts
    assert all(face.confidence > 0.8 for face in after.result.faces)
    assert len(after.result.bodies) < len(first.result.bodies)
    assert len(own.result.alerts) == 1
    assert not again.result.alerts


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (pb.StreamConfig(max_frame_rate=math.nan), "config.max_frame_rate"),
        (pb.StreamConfig(max_frame_rate=-1), "config.max_frame_rate"),
        (pb.StreamConfig(buffer_frames=33), "config.buffer_frames"),
        (pb.StreamConfig(camera="c" * 300), "config.camera"),
        (pb.StreamConfig(priority=101), "config.priority"),
        (pb.StreamConfig(max_age=Duration()), "config.max_age"),
        (pb.StreamConfig(max_age=Duration(nanos=-1)), "config.max_age"),
        (pb.StreamConfig(max_age=Duration(seconds=3601)), "config.max_age"),
        (
            pb.StreamConfig(settings=pb.DetectionSettings(confidence_threshold=math.inf)),
            "config.settings.confidence_threshold",
        ),
    ],
)
async def test_a_bad_configuration_ends_the_stream_after_its_frames(
    photo: bytes, config: pb.StreamConfig, field: str
) -> None:
    """What was accepted before is answered; then INVALID_ARGUMENT names the field."""
    async with serving() as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(frame("before", photo))
        await call.write(Request(config=config))
        answers = []
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for response in responses(call):
                answers.append(response)  # noqa: PERF401 - what came before the error counts
    assert answers[0].result.frame.frame_id == "before"
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).fields == [field]


async def test_an_empty_message_ends_the_stream() -> None:
    """A message that is neither a configuration nor a frame is refused by name."""
    async with serving() as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(Request())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rest(call)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).fields == ["message"]


async def test_the_newest_frames_win_and_drops_are_told(service: Running, photo: bytes) -> None:
    """While the worker is busy the buffer keeps the newest; the next answer counts what had to go."""
    async with connected(service.address) as stub:
        call = await opened(stub)
        gated.faults.close_gate()
        await call.write(frame("0", photo))
        await held_inference()
        for name in range(1, 10):
            await call.write(frame(str(name), photo))
        await received(service, 10)
        gated.faults.open.set()
        answers = await rest(call)
    *results, last = answers
    assert [answer.result.frame.frame_id for answer in results] == ["0", "9"]
    assert [answer.result.frame.sequence for answer in results] == [1, 10]
    assert drops(*answers) == {pb.DROP_REASON_SUPERSEDED: 8}
    assert drops(results[0]) == {pb.DROP_REASON_SUPERSEDED: 8}
    dropped = pb.DropCount(reason=pb.DROP_REASON_SUPERSEDED, count=8)
    assert last.summary == pb.StreamSummary(frames_received=10, results=2, drops=[dropped])
    assert service.server.stats.drops == {pb.DROP_REASON_SUPERSEDED: 8}


async def test_a_larger_buffer_drops_less(service: Running, photo: bytes) -> None:
    """`buffer_frames` says how many may wait, and a smaller one lets the surplus go."""
    async with connected(service.address) as stub:
        call = await opened(stub)
        gated.faults.close_gate()
        await call.write(Request(config=pb.StreamConfig(buffer_frames=6)))
        await call.write(frame("0", photo))
        await held_inference()
        for name in range(1, 7):
            await call.write(frame(str(name), photo))
        await received(service, 7)
        await call.write(Request(config=pb.StreamConfig(buffer_frames=4)))
        configured = [await call.read(), await call.read()]
        gated.faults.open.set()
        answers = await rest(call)
    assert [c.configured.buffer_frames for c in configured if isinstance(c, Response)] == [6, 4]
    assert [answer.result.frame.frame_id for answer in answers[:-1]] == ["0", "3", "4", "5", "6"]
    assert answers[-1].summary.drops == [pb.DropCount(reason=pb.DROP_REASON_SUPERSEDED, count=2)]


async def test_frames_over_the_rate_are_dropped_and_counted(photo: bytes) -> None:
    """The stream's rate holds, and so does the service's own, whichever is lower."""
    async with serving(max_stream_frame_rate=0.01) as running, connected(running.address) as stub:
        call = await opened(stub)
        await call.write(Request(config=pb.StreamConfig(max_frame_rate=500)))
        for name in range(5):
            await call.write(frame(str(name), photo))
        configured, *results, last = await rest(call)
    assert configured.configured.max_frame_rate == pytest.approx(0.01)
    assert [answer.result.frame.frame_id for answer in results] == ["0"]
    assert last.summary.drops == [pb.DropCount(reason=pb.DROP_REASON_RATE_LIMITED, count=4)]
    assert drops(*results, last) == {pb.DROP_REASON_RATE_LIMITED: 4}


async def test_a_failing_model_is_an_error_of_the_frame(service: Running, photo: bytes) -> None:
    """Inference that fails is answered with its reason, and the next frame is looked at."""
    async with connected(service.address) as stub:
        call = await opened(stub)
        gated.faults.fail_with = RuntimeError("out of luck")
        await call.write(frame("bad", photo))
        bad = await call.read()
        gated.faults.fail_with = None
        await call.write(frame("good", photo))
        good, _ = await rest(call)
    assert isinstance(bad, Response)
    assert bad.error.reason == pb.ERROR_REASON_INFERENCE_FAILED
    assert bad.error.message == "inference failed; the service's log says why"
    assert bad.error.details == ""
    assert (bad.error.frame.width, bad.error.frame.height) == (512, 512)
    assert good.result.frame.frame_id == "good"
    assert service.server.stats.errors == {pb.ERROR_REASON_INFERENCE_FAILED: 1}


async def test_debug_gives_stack_traces(monkeypatch: pytest.MonkeyPatch, photo: bytes) -> None:
    """With DEBUG an error's details say where it arose."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(debug=True) as running, connected(running.address) as stub:
        call = await opened(stub)
        gated.faults.fail_with = RuntimeError("out of luck")
        await call.write(frame("bad", photo))
        bad, _ = await rest(call)
    assert "Traceback" in bad.error.details
    assert "out of luck" in bad.error.details


async def test_work_for_a_client_that_vanished_is_not_done(service: Running, photo: bytes) -> None:
    """What waited is forgotten, other streams are served, and nothing of the stream remains."""
    async with connected(service.address) as stub:
        gone = await opened(stub)
        gated.faults.close_gate()
        await gone.write(Request(config=pb.StreamConfig(buffer_frames=2)))
        await gone.write(frame("0", photo))
        await held_inference()
        await gone.write(frame("1", photo))
        await gone.write(frame("2", photo))
        await received(service, 3)
        gone.cancel()
        await until(lambda: service.server.stats.active_streams == 0)
        gated.faults.open.set()
        other = await opened(stub)
        await other.write(frame("other", photo))
        answer, _ = await rest(other)
    assert answer.result.frame.frame_id == "other"
    assert service.server.stats.abandoned == 3
    assert gated.faults.inferences == 3  # the warm-up, the one at the gate, the other stream's


async def test_a_deadline_ends_a_stream(service: Running, photo: bytes) -> None:
    """The caller's deadline is honoured: the call ends, and what waited is forgotten."""
    async with connected(service.address) as stub:
        call = await opened(stub, timeout=2)
        gated.faults.close_gate()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.write(frame("0", photo))
            await call.read()
        await until(lambda: service.server.stats.active_streams == 0)
        gated.faults.open.set()
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_does_not_read_harms_nobody_else(photo: bytes) -> None:
    """Its frames are dropped for that reason, others are served, and in the end its call is ended."""
    many = pb.DetectionSettings(confidence_threshold=0.0)
    async with serving(stream_write_timeout=3.0, workers=2) as running:
        options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with (
            connected(running.address, options) as deaf_stub,
            connected(running.address) as stub,
        ):
            deaf = await opened(deaf_stub)
            await deaf.write(Request(config=pb.StreamConfig(settings=many)))
            enough = asyncio.Event()
            feeding = asyncio.create_task(_feed(deaf, photo, enough))
            await until(lambda: running.server.stats.drops[pb.DROP_REASON_CLIENT_SLOW])
            enough.set()  # while it is still being read: later a write might wait for ever
            await feeding
            call = await opened(stub)
            await call.write(frame("other", photo))
            answer, _ = await rest(call)
            assert answer.result.frame.frame_id == "other"
            await until(lambda: running.server.stats.active_streams == 0)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for _ in responses(deaf):
                    pass
    assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(ended.value).reason == "CLIENT_NOT_READING"


async def _feed(call: Call, photo: bytes, enough: asyncio.Event) -> None:
    """Send frames, and read nothing."""
    while not enough.is_set():
        await call.write(frame("more", photo))


async def test_no_more_streams_than_allowed(photo: bytes) -> None:
    """One too many is refused with a reason and a time to try again; a place that is free again is given."""
    async with serving(max_streams=1) as running, connected(running.address) as stub:
        first = await opened(stub)
        await first.write(frame("0", photo))
        assert isinstance(await first.read(), Response)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await (await opened(stub)).read()
        await rest(first)
        third = await opened(stub)
        await third.write(frame("1", photo))
        answer, _ = await rest(third)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(refused.value).reason == "TOO_MANY_STREAMS"
    assert details_of(refused.value).retry_after == 5
    assert answer.HasField("result")


async def test_streams_share_the_workers_in_turn(service: Running, photo: bytes) -> None:
    """A stream with a full buffer does not make another wait for all of it."""
    async with connected(service.address) as stub:
        flood, single = await opened(stub), await opened(stub)
        gated.faults.close_gate()
        await flood.write(Request(config=pb.StreamConfig(buffer_frames=32)))
        await flood.write(frame("0", photo))
        await held_inference()
        for number in range(1, 31):
            await flood.write(frame(str(number), photo))
        await received(service, 31)
        await single.write(frame("single", photo))
        await received(service, 32)
        gated.faults.open.set()
        (answer, _), flooded = await asyncio.gather(rest(single), rest(flood))
    assert answer.result.frame.frame_id == "single"
    before = [
        other.result
        for other in flooded
        if other.HasField("result")
        and other.result.completed_time.ToNanoseconds()
        < answer.result.completed_time.ToNanoseconds()
    ]
    assert len(before) <= 2  # the one at the gate, and the flood's turn


async def test_bytes_that_are_no_message_end_the_stream_by_name(photo: bytes) -> None:
    """What was accepted before is answered; then INVALID_ARGUMENT says that the message is none."""
    async with serving() as running, grpc.aio.insecure_channel(running.address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, Response] = channel.stream_stream(
            "/crowd.detector.v1.DetectorService/StreamDetections",
            response_deserializer=Response.FromString,
        )()
        await call.write(frame("good", photo).SerializeToString())
        await call.write(b"\xff\xff\xff")
        answers = []
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            while isinstance(response := await call.read(), Response):
                answers.append(response)
    assert [answer.WhichOneof("message") for answer in answers] == ["result", "summary"]
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(refused.value).reason == "INVALID_REQUEST"


async def test_new_configurations_are_no_way_around_the_rate(photo: bytes) -> None:
    """The service's own limit holds however often the stream changes its own."""
    async with serving(max_stream_frame_rate=0.02) as running, connected(running.address) as stub:
        call = await opened(stub)
        for number in range(6):
            await call.write(
                Request(config=pb.StreamConfig(max_frame_rate=0.01 if number % 2 else 0.015))
            )
            await call.write(frame(str(number), photo))
        answers = await rest(call)
    assert answers[-1].summary.results == 1
    assert answers[-1].summary.drops == [pb.DropCount(reason=pb.DROP_REASON_RATE_LIMITED, count=5)]


async def test_configurations_alone_from_a_client_that_does_not_read_are_bounded() -> None:
    """Each must be written before the next is taken, so that none pile up; in the end the call ends."""
    async with serving(stream_write_timeout=0.5) as running:
        options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with connected(running.address, options) as stub:
            call = await opened(stub)
            enough = asyncio.Event()

            async def flood() -> None:
                while not enough.is_set():
                    await call.write(Request(config=pb.StreamConfig(camera="c" * 256)))

            flooding = asyncio.create_task(flood())
            await until(lambda: running.server.stats.active_streams == 1)
            await until(lambda: running.server.stats.active_streams == 0)
            enough.set()
            await asyncio.wait({flooding})
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for response in responses(call):
                    assert response.HasField("configured")
    assert ended.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(ended.value).reason == "CLIENT_NOT_READING"


async def test_decoding_and_inference_never_run_on_the_event_loop(
    service: Running, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both run in the workers' threads."""
    import threading

    from detector_service.frames import encoded

    decoding = set()
    original = encoded.decode_picture

    def noting(data: bytes, **options: Any) -> object:
        decoding.add(threading.current_thread().name)
        return original(data, **options)

    monkeypatch.setattr(encoded, "decode_picture", noting)
    async with connected(service.address) as stub:
        call = await opened(stub)
        gated.faults.threads.clear()
        await call.write(frame("0", photo))
        await rest(call)
    assert decoding == gated.faults.threads == {"worker-0"}
    assert threading.current_thread().name not in decoding
