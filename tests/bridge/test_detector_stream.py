"""A detector that goes away, comes back, refuses, is silent, or falls behind; and there may be another."""

import asyncio
import signal

import grpc
import pytest

from bridge import detector_stream
from tests.bridge.bridges import bridging, client, fake_and_bridge
from tests.bridge.fake_detector import FakeDetector, faking
from tests.servers import service_process, serving, until


async def test_one_error_then_silence_then_work_again() -> None:
    """The connection stays; whoever waited for an answer gets it once the detector is back."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await browser.send_frame()
        await browser.result()
        await detector.stop()
        error = await browser.error()
        assert error["code"] == "DETECTOR_UNAVAILABLE"
        for number in range(5):
            await browser.send_frame(frame_id=str(number))
        await detector.restart()
        result = await browser.result()
        assert result["frame"]["frame_id"] == "3"
        assert result["drops"] == {"superseded": 3}
        assert (await browser.result())["frame"]["frame_id"] == "4"


async def test_the_bridge_starts_without_a_detector() -> None:
    """And learns of it when it comes."""
    detector = FakeDetector()
    await detector.start()
    await detector.stop()
    async with bridging(detector.address) as bridge, client(bridge.url) as browser:
        await browser.send_frame()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        await detector.restart()
        await browser.result()
        await detector.stop()


async def test_a_stream_moves_to_another_detector() -> None:
    """The frame that was under way is asked again of the other; nothing is told but the result."""
    async with (
        faking(2) as (one, two),
        bridging(one.address, two.address) as bridge,
        client(bridge.url) as browser,
    ):
        await browser.send_frame(frame_id="first")
        await browser.result()
        mine, other = (one, two) if one.streams else (two, one)
        mine.gate.clear()
        await browser.send_frame(frame_id="second")
        await until(lambda: len(mine.frames) == 2)
        await mine.stop()
        result = await browser.result()
        assert result["frame"]["frame_id"] == "second"
        assert [frame.frame_id for frame in other.frames] == ["second"]
        mine.gate.set()


async def test_frames_lost_with_a_detector_are_counted() -> None:
    """All that were under way but the newest, which is asked again."""
    async with (
        faking(2) as (one, two),
        bridging(one.address, two.address) as bridge,
        client(bridge.url) as browser,
    ):
        for detector in (one, two):
            detector.die_at = "fatal"
            detector.gate.clear()
        for name in ("fatal", "a", "b"):
            await browser.send_frame(frame_id=name)
            await until(lambda name=name: name == "fatal" or one.frames or two.frames)  # type: ignore[misc]
        await asyncio.sleep(0)
        one.gate.set()
        two.gate.set()
        result = await browser.result()
        assert result["frame"]["frame_id"] == "b"
        assert sum(result["drops"].values()) == 2


async def test_a_frame_that_kills_detectors_is_given_up() -> None:
    """After two, so that it cannot go on killing; the next frame is served."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.die_at = "fatal"
        await browser.send_frame(frame_id="fatal")
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        error = await browser.error()
        assert error["code"] == "PROCESSING_ERROR"
        assert error["frame"]["sequence"] == 1
        await browser.send_frame(frame_id="good")
        assert (await browser.result())["frame"]["frame_id"] == "good"


async def test_a_detector_that_goes_down_in_good_order_is_left() -> None:
    """Its summary ends the stream; what it did not answer is asked of the other."""
    async with (
        faking(2) as (one, two),
        bridging(one.address, two.address) as bridge,
        client(bridge.url) as browser,
    ):
        await browser.send_frame(frame_id="first")
        await browser.result()
        mine, other = (one, two) if one.streams else (two, one)
        mine.summary_at = "second"
        await mine.say(serving=False)
        await browser.send_frame(frame_id="second")
        assert (await browser.result())["frame"]["frame_id"] == "second"
        await until(lambda: not mine.streams)
        assert other.streams == 1


async def test_new_streams_go_where_the_fewest_are() -> None:
    """And only to detectors that serve."""
    async with (
        faking(3) as (one, two, three),
        bridging(one.address, two.address, three.address) as bridge,
    ):
        await three.say(serving=False)
        links = bridge.server._detectors.links
        await until(lambda: [link.serving for link in links] == [True, True, False])
        async with (
            client(bridge.url) as first,
            client(bridge.url) as second,
            client(bridge.url) as third,
            client(bridge.url) as fourth,
        ):
            for browser in (first, second, third, fourth):
                await browser.send_frame()
                await browser.result()
            assert (one.streams, two.streams, three.streams) == (2, 2, 0)


async def test_a_detector_that_refuses_streams_is_passed_over() -> None:
    """The other one serves, and the client is not troubled."""
    async with (
        faking(2) as (one, two),
        bridging(one.address, two.address) as bridge,
    ):
        one.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED
        links = bridge.server._detectors.links
        await until(lambda: all(link.serving for link in links))
        for _ in range(4):
            async with client(bridge.url) as browser:
                await browser.send_frame()
                await browser.result()
        assert two.opened == 4


async def test_a_detector_that_cancels_is_no_end() -> None:
    """grpc.aio raises CancelledError then, as if the bridge's own task were cancelled."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.refuse = grpc.StatusCode.CANCELLED
        await browser.send_frame()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        detector.refuse = None
        await browser.result()


async def test_a_detector_that_is_silent_is_given_up() -> None:
    """After DETECTOR_TIMEOUT with frames and no answer."""
    async with (
        fake_and_bridge(detector_timeout=0.3) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        detector.gate.clear()
        await browser.send_frame()
        error = await browser.error()
        assert error["code"] == "DETECTOR_UNAVAILABLE"
        assert "0.3 s" in error["details"]
        detector.gate.set()


async def test_a_deaf_detector_costs_old_frames_only() -> None:
    """Where frames cannot be handed over, the newest wins, and memory stays bounded."""
    async with (
        fake_and_bridge(max_frame_rate=0, detector_timeout=3600) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        detector.deaf = True
        for _ in range(100):
            await browser.send_frame(bytes(1_000_000))
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 100)
        assert session._queue.waiting <= 2
        assert session._queue.in_flight <= 64
        assert session._answers._drops["superseded"] > 20


async def test_a_bad_configuration_is_told_and_the_one_before_applies() -> None:
    """Should the detector refuse what the bridge thought acceptable."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.refuse = grpc.StatusCode.INVALID_ARGUMENT
        await browser.send("configure", {"camera": "door"})
        error = await browser.error()
        assert error["code"] == "INVALID_MESSAGE"
        assert "refused by the test" in error["message"]
        detector.refuse = None
        await browser.send_frame()
        assert (await browser.result())["frame"]["camera"] != "door"


async def test_of_two_configurations_that_are_refused_neither_applies() -> None:
    """Each is told; the last that the detector took is in force again, for frames that waited, too."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.bad_cameras = {"bad", "worse"}
        await browser.send("configure", {"camera": "good"})
        assert (await browser.receive())[0] == "configured"
        detector.gate.clear()
        await browser.send_frame()
        await browser.send("configure", {"camera": "bad"})
        await until(lambda: detector.frames)
        (session,) = bridge.server._sessions
        await until(lambda: getattr(session._stream._sent, "camera", "") == "bad")
        await browser.send("configure", {"camera": "worse"})
        await browser.send_frame(frame_id="last")
        await until(lambda: session._received == 5)
        detector.gate.set()
        answers = [await browser.receive() for _ in range(4)]
        told = [data["message"] for event, data in answers if event == "error"]
        assert ["no camera bad" in told[0], "no camera worse" in told[1]] == [True, True]
        results = [data["frame"] for event, data in answers if event == "detection_result"]
        assert [each["camera"] for each in results] == ["good", "good"]
        assert results[1]["frame_id"] == "last"


async def test_the_rate_of_a_configuration_that_is_refused_does_not_apply() -> None:
    """Or the next frames would be dropped for a rate that nobody took."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.bad_cameras = {"bad"}
        await browser.send_frame()
        await browser.result()
        await browser.send("configure", {"camera": "bad", "max_frame_rate": 0.001})
        assert "no camera bad" in (await browser.error())["message"]
        await browser.send_frame()
        assert (await browser.result())["drops"] == {}


async def test_a_detector_that_refuses_what_it_took_before_is_unavailable() -> None:
    """Its INVALID_ARGUMENT is not for the configuration, and asking again and again would flood the client."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.refuse = grpc.StatusCode.INVALID_ARGUMENT
        await browser.send_frame()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        await until(lambda: len(detector.metadata) > 2)
        detector.refuse = None
        await browser.result()


async def test_a_frame_is_served_as_was_configured_when_it_came() -> None:
    """Though it waited, and the configuration changed meanwhile."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await detector.stop()
        await browser.send_frame()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        await browser.send("configure", {"camera": "door"})
        await browser.send_frame()
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 3)
        await detector.restart()
        assert (await browser.result())["frame"]["camera"] == session._client_id
        answers = dict([await browser.receive() for _ in range(2)])
        assert answers["configured"]["camera"] == "door"
        assert answers["detection_result"]["frame"]["camera"] == "door"


async def test_a_detector_that_drops_the_last_frame_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its silence is no fault: it would tell with the next answer, which never comes. A drain is not held up."""
    monkeypatch.setattr(detector_stream, "_ASK_AFTER", 0.05)
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.drop_frames = {"dropped"}
        await browser.send_frame(frame_id="dropped")
        (session,) = bridge.server._sessions
        await until(lambda: session._answers._drops["superseded"] == 1)
        assert (session._queue.in_flight, len(session._queue)) == (0, 0)
        await browser.send_frame()
        assert (await browser.result())["drops"] == {"superseded": 1}
        await browser.send_frame(frame_id="dropped")
        await browser.websocket.send("garbage")
        assert (await browser.error())["code"] == "INVALID_MESSAGE"
        await browser.send_frame(frame_id="dropped")
        await until(lambda: len(detector.frames) == 4)
        await bridge.server.drain()
        assert await browser.closed() == 1001


async def test_asking_does_not_make_a_dead_detector_look_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What counts is that it answers frames, or tells that it dropped some."""
    monkeypatch.setattr(detector_stream, "_ASK_AFTER", 0.02)
    async with (
        fake_and_bridge(detector_timeout=1.0) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        detector.forget_frames = {"forgotten"}
        await browser.send_frame(frame_id="forgotten")
        assert "answered none for 1 s" in (await browser.error())["details"]
        assert len(detector.configs) > 2


async def test_frames_over_the_detectors_own_rate_are_no_fault(photo: bytes) -> None:
    """The bridge learns of MAX_STREAM_FRAME_RATE when the first ones are under way."""
    async with (
        serving(max_stream_frame_rate=0.01) as detector,
        bridging(detector.address, detector_timeout=10) as bridge,
        client(bridge.url) as browser,
    ):
        for _ in range(2):
            await browser.send_frame(photo)
        result = await browser.result()
        assert result["frame"]["sequence"] == 1
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 2 and not len(session._queue))
        assert result["drops"].get("rate_limited", 0) + session._answers._drops["rate_limited"] == 1


async def test_a_configuration_is_kept_over_a_restart() -> None:
    """And not confirmed a second time."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await browser.send("configure", {"camera": "door"})
        assert (await browser.receive())[0] == "configured"
        await detector.stop()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        await detector.restart()
        await browser.send_frame()
        assert (await browser.result())["frame"]["camera"] == "door"
        assert [config.camera for config in detector.configs] == ["door", "door"]


async def test_a_real_detector_killed_and_started_again(photo: bytes) -> None:
    """In the middle of a stream; the browser learns of it once, and goes on."""
    async with service_process() as service:
        await service.serves()
        port = service.address.rpartition(":")[2]
        async with bridging(service.address) as bridge, client(bridge.url) as browser:
            await browser.send_frame(photo)
            result = await browser.result()
            assert result["crowd_analysis"]["total_people"] >= 1
            service.signal(signal.SIGKILL)
            await service.process.wait()
            assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
            await browser.send_frame(photo, frame_id="later")
            async with service_process(GRPC_PORT=port):
                result = await browser.result()
                assert result["frame"]["frame_id"] == "later"
                assert result["crowd_analysis"]["total_people"] >= 1


async def test_a_real_detector_that_drains(photo: bytes) -> None:
    """What it accepted is answered; then the stream moves on."""
    async with service_process() as one, service_process() as two:
        await one.serves()
        await two.serves()
        async with (
            bridging(one.address, two.address) as bridge,
            client(bridge.url) as browser,
        ):
            links = bridge.server._detectors.links
            await until(lambda: all(link.serving for link in links))
            await browser.send_frame(photo)
            await browser.result()
            mine = one if links[0].streams else two
            mine.signal(signal.SIGTERM)
            for number in range(20):
                await browser.send_frame(photo, frame_id=str(number))
                assert (await browser.result())["frame"]["frame_id"] == str(number)
            assert await mine.ended() == 0


async def test_a_real_detector_answers_for_bad_images(photo: bytes) -> None:
    """With its own words, as the documented code."""
    async with service_process() as service:
        await service.serves()
        async with bridging(service.address) as bridge, client(bridge.url) as browser:
            for image, code in (
                (b"no image", "UNSUPPORTED_IMAGE"),
                (photo[:2000], "UNSUPPORTED_IMAGE"),
                (b"", "UNSUPPORTED_IMAGE"),
            ):
                await browser.send_frame(image)
                assert (await browser.error())["code"] == code
            await browser.send("configure", {"settings": {"crowd_threshold": 0}})
            event, data = await browser.receive()
            assert (event, data["settings"]["crowd_threshold"]) == ("configured", 0)
            await browser.send_frame(photo)
            (alert,) = (await browser.result())["alerts"]
            assert alert["type"] == "crowd_warning"
            assert alert["level"] == "warning"
            assert alert["message"]


async def test_a_low_rate_leaves_no_frame_unanswered(photo: bytes) -> None:
    """What the detector would drop for its rate is dropped here, so its silence never looks like a fault."""
    async with (
        serving() as detector,
        bridging(detector.address, detector_timeout=0.5) as bridge,
        client(bridge.url) as browser,
    ):
        await browser.send("configure", {"max_frame_rate": 0.8})
        assert (await browser.receive())[1]["max_frame_rate"] == 0.8
        for _ in range(40):
            await browser.send_frame(photo)
        first = await browser.result()
        assert first["frame"]["sequence"] == 2
        (session,) = bridge.server._sessions
        await until(lambda: session._received == 41)
        assert session._queue.in_flight == 0
        event, sent = "", 40
        while event != "detection_result":
            await browser.send_frame(photo)
            sent += 1
            try:
                async with asyncio.timeout(0.05):
                    event, data = await browser.receive()
            except TimeoutError:
                continue
        assert set(data["drops"]) == {"rate_limited"}
        told = first["drops"].get("rate_limited", 0) + data["drops"]["rate_limited"]
        await until(lambda: session._received == sent + 1)
        assert told + session._answers._drops["rate_limited"] == sent - 2 - len(session._queue)


async def test_a_detector_that_takes_long_to_connect_to() -> None:
    """It is far away, or busy: an attempt to connect is not given up as soon as the next one would be due."""
    async with faking() as (detector,):
        host, port = detector.address.split(":")
        relays = set[asyncio.Task[None]]()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            relays.add(task)
            await asyncio.sleep(0.8)  # the distance: more than the longest pause between attempts
            there = await asyncio.open_connection(host, int(port))
            try:
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
            finally:
                for each in (writer, there[1]):
                    each.transport.abort()

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        far = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with bridging(far) as bridge, client(bridge.url) as browser:
            await bridge.server._detectors.wait_serving()
            await browser.send_frame()
            await browser.result()
        server.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
