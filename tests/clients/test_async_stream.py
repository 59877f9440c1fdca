"""A stream over a real service, through whatever happens to its connections."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import (
    AnswerTimeoutError,
    AsyncDetectorClient,
    DetectionSettings,
    DetectorError,
    DropReason,
    Frame,
    FrameError,
    InvalidRequestError,
    Result,
    UnavailableError,
)

from detector_service import engines
from tests.clients.faults import configured, faulty, proxied, result
from tests.engines import gated
from tests.servers import ROOT, Running, serving, until


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A service with one worker, whose engine does as the test tells it."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    async with serving(workers=1) as running:
        yield running


def frames(photo: bytes, count: int) -> Iterator[Frame]:
    for number in range(count):
        yield Frame(photo, frame_id=str(number))


async def test_every_frame_is_answered_in_order(service: Running, photo: bytes) -> None:
    """With what it was sent with, and a summary at the end."""
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(frames(photo, 20), camera="door")
        answers = [answer async for answer in stream]
    assert all(isinstance(answer, Result) for answer in answers)
    assert [answer.frame_id for answer in answers] == [str(number) for number in range(20)]
    assert {answer.camera for answer in answers} == {"door"}
    assert answers[3].frame == Frame(photo, frame_id="3")
    assert (stream.summary.frames, stream.summary.results) == (20, 20)
    assert stream.summary.dropped == {}


async def test_a_bad_frame_is_answered_with_its_error(service: Running, photo: bytes) -> None:
    """And the others with their results."""
    async with AsyncDetectorClient(service.address) as client:
        first, second, third = [answer async for answer in client.stream([photo, b"bad", photo])]
    assert isinstance(first, Result)
    assert isinstance(second, FrameError)
    assert second.reason == "UNSUPPORTED_IMAGE"
    assert second.frame == Frame(b"bad")
    assert isinstance(third, Result)


async def test_where_every_frame_counts_a_cut_costs_none(photo: bytes) -> None:
    """What was in flight is sent again, with the same settings; no answer comes twice."""
    told: list[tuple[DetectorError, float]] = []
    async with (
        serving(workers=1) as running,
        proxied(running.address) as proxy,
        AsyncDetectorClient(proxy.address) as client,
    ):
        stream = client.stream(
            frames(photo, 60),
            camera="door",
            settings=DetectionSettings(crowd_threshold=0),
            on_reconnect=lambda error, delay: told.append((error, delay)),
        )
        answers = []
        async for answer in stream:
            answers.append(answer)
            if len(answers) in {10, 30}:
                proxy.cut()
    assert [answer.frame_id for answer in answers] == [str(number) for number in range(60)]
    assert {answer.camera for answer in answers} == {"door"}
    assert all(isinstance(answer, Result) and answer.alerts for answer in answers)
    assert stream.summary.reconnections == 2
    assert [type(error) for error, _ in told] == [UnavailableError] * 2


async def test_where_only_now_counts_a_cut_costs_what_was_in_flight(
    service: Running, photo: bytes
) -> None:
    """Those frames are counted as lost, and the newest is sent instead."""
    async with proxied(service.address) as proxy, AsyncDetectorClient(proxy.address) as client:
        gated.faults.close_gate()
        cut = asyncio.Event()

        async def camera() -> AsyncIterator[Frame]:
            yield Frame(photo, frame_id="lost")
            await cut.wait()
            yield Frame(photo, frame_id="found")

        def lost(error: DetectorError, delay: float) -> None:
            gated.faults.open.set()
            cut.set()

        stream = client.stream(camera(), when_full="newest", on_reconnect=lost)
        answering = asyncio.ensure_future(anext(stream))
        assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)
        proxy.cut()
        answer = await answering
        assert answer.frame_id == "found"
        assert answer.dropped == {DropReason.CONNECTION_LOST: 1}
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert stream.summary.dropped == {DropReason.CONNECTION_LOST: 1}


async def test_the_newest_frame_wins_while_the_service_is_busy(
    service: Running, photo: bytes
) -> None:
    """A camera is read as fast as it gives frames, and how many were passed over is known."""
    gated.faults.close_gate()
    read = asyncio.Event()

    async def camera() -> AsyncIterator[Frame]:
        for number in range(50):
            yield Frame(photo, frame_id=str(number))
        read.set()

    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(camera(), when_full="newest", max_in_flight=1)
        answering = asyncio.ensure_future(anext(stream))
        await read.wait()
        gated.faults.open.set()
        answers = [await answering] + [answer async for answer in stream]
    assert answers[-1].frame_id == "49"
    summary = stream.summary
    assert summary.frames == 50 == summary.results + summary.dropped[DropReason.SUPERSEDED]
    assert summary.results < 5


async def test_a_source_is_not_read_faster_than_answers_are_taken(
    service: Running, photo: bytes
) -> None:
    """So no more frames are held than max_in_flight, one that waits, and one in the source's hand."""
    alive = 0
    most = 0

    class Tracked:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def source() -> Iterator[Frame]:
        for _ in range(60):
            yield Frame(photo, context=Tracked())

    gc.disable()
    try:
        async with AsyncDetectorClient(service.address) as client:
            stream = client.stream(source(), max_in_flight=3)
            first = await anext(stream)
            await until(lambda: service.server.stats.processed == 4)
            assert stream.summary.frames == 5  # taken, 3 in flight, one waits
            count = 1
            async for answer in stream:
                count += isinstance(answer, Result)
                del answer
            del first
    finally:
        gc.enable()
    assert count == 60
    assert most <= 3 + 2 + 2  # and the first, and the last that was taken
    await until(lambda: alive == 0)


async def test_frames_are_sent_no_faster_than_the_service_takes_them(photo: bytes) -> None:
    """Its own limit applies to whoever asks for more; what jitter brings too soon is dropped, and counted."""
    async with (
        serving(max_stream_frame_rate=20) as running,
        AsyncDetectorClient(running.address) as client,
    ):
        began = time.monotonic()
        stream = client.stream(frames(photo, 10), max_frame_rate=1000)
        answers = [answer async for answer in stream]
        took = time.monotonic() - began
    dropped = stream.summary.dropped
    assert set(dropped) <= {DropReason.RATE_LIMITED}
    assert len(answers) + sum(dropped.values()) == 10
    assert len(answers) >= 5
    assert took >= 9 / 20 - 0.03  # not a speed: sooner would break the limit


async def test_settings_change_from_frame_to_frame(service: Running, photo: bytes) -> None:
    """And stay changed."""

    async def camera() -> AsyncIterator[bytes]:
        yield photo
        await changed.wait()
        yield photo
        yield photo

    changed = asyncio.Event()
    async with (
        AsyncDetectorClient(service.address) as client,
        client.stream(camera(), max_in_flight=1) as stream,
    ):
        first = await anext(stream)
        stream.configure(settings=DetectionSettings(confidence_threshold=1.0))
        changed.set()
        rest = [answer async for answer in stream]
    assert isinstance(first, Result)
    assert first.crowd.total_people > 0
    assert [isinstance(answer, Result) and answer.crowd.total_people for answer in rest] == [0, 0]


async def test_a_setting_out_of_range_ends_the_stream(service: Running, photo: bytes) -> None:
    """With the service's own words."""
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream([photo], settings=DetectionSettings(confidence_threshold=2.0))
        with pytest.raises(InvalidRequestError, match="confidence_threshold") as refused:
            await anext(stream)
    assert refused.value.reason == "INVALID_SETTINGS"


async def test_nobody_there_is_an_error_at_once(photo: bytes) -> None:
    """A service that was never reached is more likely a wrong address than one that is away."""
    async with proxied("127.0.0.1:1") as proxy, AsyncDetectorClient(proxy.address) as client:
        with pytest.raises(UnavailableError, match=r"no connection to 127\.0\.0\.1"):
            await anext(client.stream([photo]))


async def test_a_service_that_stays_away_is_given_up(service: Running, photo: bytes) -> None:
    """After reconnect_timeout, with the reason for the last attempt; answers that came are kept."""
    async with proxied(service.address) as proxy, AsyncDetectorClient(proxy.address) as client:
        stream = client.stream(frames(photo, 1000), reconnect_timeout=0.5)
        first = await anext(stream)
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(UnavailableError, match="no connection"):
            while True:
                await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert isinstance(first, Result)


async def test_a_service_that_falls_silent_is_left(service: Running, photo: bytes) -> None:
    """After answer_timeout the connection counts as lost, and another one is made."""
    async with proxied(service.address) as proxy, AsyncDetectorClient(proxy.address) as client:
        told: list[DetectorError] = []

        def lost(error: DetectorError, delay: float) -> None:
            told.append(error)
            proxy.go_on()

        stream = client.stream(frames(photo, 40), answer_timeout=0.5, on_reconnect=lost)
        answers = [await anext(stream)]
        proxy.hold()
        answers += [answer async for answer in stream]
    assert [answer.frame_id for answer in answers] == [str(number) for number in range(40)]
    assert isinstance(told[0], AnswerTimeoutError)


async def test_drops_that_no_answer_tells_of_are_asked_for(photo: bytes) -> None:
    """A service that dropped all that is in flight has nothing to answer, unless it is asked."""
    asked = 0

    async def behave(requests: Any, context: Any) -> None:
        nonlocal asked
        sequence, since = 0, 0
        async for request in requests:
            if request.HasField("config"):
                response = configured()
                if sequence:
                    asked += 1
                    response.drops.add(reason=pb.DROP_REASON_RATE_LIMITED, count=since)
                    since = 0
                await context.write(response)
            else:
                sequence += 1
                if asked:
                    await context.write(result(sequence))
                else:
                    since += 1

    async with faulty(behave) as address, AsyncDetectorClient(address) as client:
        stream = client.stream(frames(photo, 5), max_in_flight=3)
        answers = [answer async for answer in stream]
    assert len(answers) == 2
    assert answers[0].dropped == {DropReason.RATE_LIMITED: 3}
    assert asked == 1


async def test_a_frame_that_always_ends_the_call_does_not_go_round_for_ever(photo: bytes) -> None:
    """A connection that brings no answer does not count as made again."""

    async def behave(requests: Any, context: Any) -> None:
        async for request in requests:
            if request.HasField("config"):
                await context.write(configured())
            else:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async with faulty(behave) as address, AsyncDetectorClient(address) as client:
        with pytest.raises(UnavailableError, match="gone"):
            await anext(client.stream([photo], reconnect_timeout=1.0))


async def test_a_service_that_ends_a_stream_without_a_reason_is_called_again(photo: bytes) -> None:
    """OK before all is answered is not the end."""
    calls = 0

    async def behave(requests: Any, context: Any) -> None:
        nonlocal calls
        calls += 1
        sequence = 0
        async for request in requests:
            if request.HasField("config"):
                await context.write(configured())
            else:
                sequence += 1
                await context.write(result(sequence))
                if calls == 1:
                    return

    async with faulty(behave) as address, AsyncDetectorClient(address) as client:
        answers = [answer async for answer in client.stream(frames(photo, 4), max_in_flight=1)]
    assert [answer.frame and answer.frame.frame_id for answer in answers] == ["0", "1", "2", "3"]
    assert calls == 2


async def test_what_the_source_raises_comes_after_the_answers(
    service: Running, photo: bytes
) -> None:
    """Nothing that was read is lost for it."""

    def camera() -> Iterator[bytes]:
        yield photo
        yield photo
        raise ConnectionResetError("the cable was pulled")

    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(camera())
        answers = [await anext(stream), await anext(stream)]
        with pytest.raises(ConnectionResetError, match="cable"):
            await anext(stream)
    assert all(isinstance(answer, Result) for answer in answers)


async def test_an_answer_that_nobody_waited_for_any_more_is_not_lost(
    service: Running, photo: bytes
) -> None:
    """Giving up on one answer does not give up on the stream."""
    gated.faults.close_gate()
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(frames(photo, 3))
        impatient = asyncio.ensure_future(anext(stream))
        assert await asyncio.to_thread(gated.faults.entered.acquire, timeout=20)
        impatient.cancel()
        await asyncio.wait({impatient})
        gated.faults.open.set()
        answers = [answer async for answer in stream]
    assert [answer.frame_id for answer in answers] == ["0", "1", "2"]


async def test_leaving_early_leaves_nothing_behind(service: Running, photo: bytes) -> None:
    """No task, no thread, no stream at the service, and the source is closed."""
    closed = threading.Event()

    def camera() -> Iterator[bytes]:
        try:
            while True:
                yield photo
        finally:
            closed.set()

    before, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with AsyncDetectorClient(service.address) as client:
        async with client.stream(camera()) as stream:
            await anext(stream)
        assert closed.is_set()
        await stream.aclose()
        await until(lambda: service.server.stats.active_streams == 0)
        left_to_client = client.stream(camera())
        await anext(left_to_client)
    with pytest.raises(StopAsyncIteration):
        await anext(left_to_client)
    await until(lambda: service.server.stats.active_streams == 0)
    await until(
        lambda: (
            not [
                thread
                for thread in set(threading.enumerate()) - before
                if thread.name.startswith("crowd-detector")
            ]
        )
    )
    assert not [task for task in asyncio.all_tasks() - tasks if "crowd-detector" in task.get_name()]


async def test_a_source_that_hangs_holds_nobody_up(service: Running, photo: bytes) -> None:
    """Closing does not wait for a camera that gives nothing."""
    hanging = threading.Event()

    def camera() -> Iterator[bytes]:
        yield photo
        hanging.wait()

    async with (
        AsyncDetectorClient(service.address) as client,
        client.stream(camera()) as stream,
    ):
        assert isinstance(await anext(stream), Result)
    assert not hanging.is_set()
    hanging.set()


async def test_arguments_that_cannot_be_are_refused(photo: bytes) -> None:
    """Before anything is sent."""
    async with AsyncDetectorClient() as client:
        for wrong in (
            {"max_in_flight": 0},
            {"max_in_flight": 33},
            {"when_full": "sometimes"},
            {"answer_timeout": 0.0},
            {"reconnect_timeout": -1.0},
        ):
            with pytest.raises(ValueError, match=r".+"):
                client.stream([photo], **wrong)


async def test_as_many_in_flight_as_may_be_costs_no_frame(service: Running, photo: bytes) -> None:
    """The service's buffer is as large as what is in flight."""
    gated.faults.close_gate()
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(frames(photo, 60), max_in_flight=32)
        answering = asyncio.ensure_future(anext(stream))
        await until(lambda: service.server.stats.received == 32)
        gated.faults.open.set()
        answers = [await answering] + [answer async for answer in stream]
    assert [answer.frame_id for answer in answers] == [str(number) for number in range(60)]
    assert stream.summary.dropped == {}


@pytest.mark.parametrize("unusable", [Frame("photo.jpg"), Frame(b"", frame_id="\udcff")])  # type: ignore[arg-type]
async def test_a_frame_that_no_message_can_be_made_of_is_the_callers_error(
    service: Running, photo: bytes, unusable: Frame
) -> None:
    """At once, and not after waiting for a service that never got it."""
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream([photo, unusable], max_in_flight=1)
        assert isinstance(await anext(stream), Result)
        with pytest.raises((TypeError, ValueError)):
            await anext(stream)


@pytest.mark.parametrize("unusable", [7, "video.mp4", b"jpeg"])
async def test_what_is_no_stream_of_images_is_said(service: Running, unusable: Any) -> None:
    """A path would be iterated letter by letter."""
    async with AsyncDetectorClient(service.address) as client:
        with pytest.raises(TypeError, match=r"not iterable|no stream of images"):
            await anext(client.stream(unusable))


async def test_a_source_that_breaks_in_other_ways_than_an_exception(
    service: Running, photo: bytes
) -> None:
    """Is an error all the same, and ends nobody else."""

    def exits() -> Iterator[bytes]:
        yield photo
        raise SystemExit(3)

    async def exits_on_the_loop() -> AsyncIterator[bytes]:
        yield photo
        raise SystemExit(3)

    async def is_cancelled() -> AsyncIterator[bytes]:
        yield photo
        raise asyncio.CancelledError

    async def closes_badly() -> AsyncIterator[bytes]:
        try:
            yield photo
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot be closed")

    async with AsyncDetectorClient(service.address) as client:
        for source in (exits, exits_on_the_loop, is_cancelled):
            stream = client.stream(source())
            assert isinstance(await anext(stream), Result)
            with pytest.raises(RuntimeError, match="source of frames"):
                await anext(stream)
        async with client.stream(closes_badly()) as stream:
            assert isinstance(await anext(stream), Result)


async def test_an_iterator_with_a_length_is_an_iterator(service: Running, photo: bytes) -> None:
    """Whether it is true or not."""

    class Countdown:
        left = 3

        def __iter__(self) -> "Countdown":
            return self

        def __next__(self) -> bytes:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return photo

        def __len__(self) -> int:
            return self.left

    async with AsyncDetectorClient(service.address) as client:
        assert len([answer async for answer in client.stream(Countdown())]) == 3


@pytest.mark.parametrize("count", [2, 20])
async def test_a_service_that_lives_and_works_on_nothing_is_left(
    service: Running, photo: bytes, count: int
) -> None:
    """Whether or not as many frames as allowed are in flight; that it answers questions is not enough."""
    gated.faults.close_gate()
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(
            frames(photo, count), max_in_flight=4, answer_timeout=1.5, reconnect_timeout=0.1
        )
        with pytest.raises(AnswerTimeoutError, match="nothing for"):
            await anext(stream)
    gated.faults.open.set()


async def test_a_connection_that_is_lost_after_the_last_answer_is_no_error(photo: bytes) -> None:
    """Nothing is missing."""

    async def behave(requests: Any, context: Any) -> None:
        sequence = 0
        async for request in requests:
            if request.HasField("config"):
                await context.write(configured())
            else:
                sequence += 1
                await context.write(result(sequence))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async with faulty(behave) as address, AsyncDetectorClient(address) as client:
        answers = [answer async for answer in client.stream(frames(photo, 3), reconnect_timeout=0)]
    assert len(answers) == 3


async def test_an_idle_stream_may_lose_its_connection_again_and_again(
    service: Running, photo: bytes
) -> None:
    """A connection that has lasted counts as made again, though no frame went over it."""
    import crowd_detector._conversation as conversation

    lasting, conversation._LASTING_SECONDS = conversation._LASTING_SECONDS, 0.1  # type: ignore[misc]
    lost = asyncio.Queue[DetectorError]()
    more = asyncio.Event()

    async def camera() -> AsyncIterator[bytes]:
        await more.wait()
        yield photo

    try:
        async with proxied(service.address) as proxy, AsyncDetectorClient(proxy.address) as client:
            stream = client.stream(
                camera(),
                answer_timeout=0.4,
                reconnect_timeout=1.0,
                on_reconnect=lambda error, _: lost.put_nowait(error),
            )
            answering = asyncio.ensure_future(anext(stream))
            for number in range(3):
                await until(lambda: service.server.stats.active_streams == 1)
                await asyncio.sleep(0.6)  # the time is what is tested: longer than lasting
                proxy.cut()
                await lost.get()
                await until(lambda number=number: stream.summary.reconnections == number + 1)  # type: ignore[misc]
            more.set()
            assert isinstance(await answering, Result)
    finally:
        conversation._LASTING_SECONDS = lasting  # type: ignore[misc]


async def test_closing_from_many_sides_is_closing(service: Running, photo: bytes) -> None:
    """However many, and whoever gives up waiting: the source is closed, and no thread stays."""

    def own() -> list[str]:
        return [each.name for each in threading.enumerate() if "crowd-detector" in each.name]

    async with AsyncDetectorClient(service.address) as client:
        for steps in range(12):
            closed = threading.Event()

            def camera(closed: threading.Event = closed) -> Iterator[bytes]:
                try:
                    while True:
                        yield photo
                finally:
                    closed.set()

            stream = client.stream(camera(), answer_timeout=0.2)
            await anext(stream)
            first = asyncio.create_task(stream.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(stream.aclose(), stream.aclose())
            assert closed.is_set()
    await until(lambda: not own())


async def test_frames_that_would_be_late_are_counted_as_such(photo: bytes) -> None:
    """The service drops what it could not answer within max_age; without one it answers all."""
    async with serving() as running, AsyncDetectorClient(running.address) as client:
        await client.detect(
            photo
        )  # so that the service knows what a frame takes: more than a millisecond
        hurried = client.stream(frames(photo, 5), priority=20, max_age=0.001)
        assert [answer async for answer in hurried] == []
        assert hurried.summary.dropped == {DropReason.LATE: 5}
        patient = client.stream(frames(photo, 5), max_age=0.001)
        patient.configure(priority=0, max_age=0)
        assert len([answer async for answer in patient]) == 5


async def test_a_priority_out_of_range_ends_the_stream(photo: bytes) -> None:
    """As the service says."""
    async with serving() as running, AsyncDetectorClient(running.address) as client:
        with pytest.raises(InvalidRequestError, match=r"config\.priority: must be 1 to 100"):
            await anext(client.stream([photo], priority=101))


async def test_a_frame_rate_changes_at_once(service: Running, photo: bytes) -> None:
    """Not after the interval that was."""
    async with AsyncDetectorClient(service.address) as client:
        stream = client.stream(frames(photo, 3), max_frame_rate=0.01)
        await anext(stream)
        stream.configure(max_frame_rate=100)
        async with asyncio.timeout(20):
            assert len([answer async for answer in stream]) == 2


async def test_a_refusal_for_now_is_waited_out(photo: bytes) -> None:
    """A service that says when to come again is there."""
    async with serving(load=False) as running, AsyncDetectorClient(running.address) as client:
        refused = asyncio.Event()
        stream = client.stream([photo], on_reconnect=lambda error, delay: refused.set())
        answering = asyncio.ensure_future(anext(stream))
        await refused.wait()
        await running.server.load()
        assert isinstance(await answering, Result)


async def test_a_drain_is_survived(photo: bytes) -> None:
    """A service that goes down in good order answers what it took; its successor the rest."""
    async with AsyncExitStack() as services:
        first = await services.enter_async_context(serving(workers=1))
        async with AsyncDetectorClient(first.address) as client:
            stream = client.stream(frames(photo, 60))
            answers = [await anext(stream)]
            await first.server.drain()
            port = int(first.address.rpartition(":")[2])
            await services.enter_async_context(serving(grpc_port=port))
            answers += [answer async for answer in stream]
    assert [answer.frame_id for answer in answers] == [str(number) for number in range(60)]


def test_the_library_is_silent_unless_it_is_asked() -> None:
    """What it logs goes where its user sends it, and not to the terminal of its own accord."""
    code = "import crowd_detector, logging; logging.getLogger('crowd_detector').warning('lost')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("", "")
