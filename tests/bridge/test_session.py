"""One connection: every event, in order, with a detector that behaves."""

import asyncio
import uuid

from google.protobuf.duration_pb2 import Duration

from tests.bridge.bridges import client, fake_and_bridge
from tests.servers import until


async def test_connected_is_the_first_event() -> None:
    """With a client id and the server's time in ms."""
    async with (
        fake_and_bridge() as (_, bridge),
        client(bridge.url, welcome=False) as browser,
    ):
        event, data = await browser.receive()
    assert event == "connected"
    assert str(uuid.UUID(data["client_id"])) == data["client_id"]
    assert data["server_time"] > 1_700_000_000_000
    assert set(data) == {"client_id", "server_time"}


async def test_a_frame_is_answered_as_documented() -> None:
    """All keys of the contract, and an echo of what the client said."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await browser.send_frame(
            b"image",
            timestamp=1640995200000,
            frame_id="a",
            settings={"confidence_threshold": 0.25, "crowd_threshold": 3},
        )
        data = await browser.result()
    box = [1.5, 2.0, 30.25, 40.0]
    camera = data["frame"].pop("camera")
    assert str(uuid.UUID(camera)) == camera
    assert data == {
        "faces": [{"bbox": box, "confidence": 0.95}],
        "bodies": [{"bbox": box, "confidence": 0.87}],
        "crowd_analysis": {
            "face_count": 1,
            "body_count": 1,
            "crowd_level": "low",
            "density_score": 0.25,
            "total_people": 1,
        },
        "alerts": [],
        "processing_time": 0.045,
        "timestamp": 1640995200100,
        "frame": {
            "sequence": 1,
            "timestamp": 1640995200000,
            "frame_id": "a",
            "width": 512,
            "height": 512,
        },
        "drops": {},
    }
    (frame,) = detector.frames
    assert frame.encoded == b"image"
    assert frame.settings.confidence_threshold == 0.25
    assert frame.settings.crowd_threshold == 3
    assert frame.capture_time.ToMilliseconds() == 1640995200000
    assert detector.configs[0].camera == camera


async def test_answers_leave_in_the_order_of_the_messages() -> None:
    """Errors too: they wait for the frames before them."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.gate.clear()
        await browser.send_frame(frame_id="1")
        await browser.websocket.send("no json")
        await browser.send_frame(frame_id="3")
        await browser.send("dance")
        detector.gate.set()
        answers = [await browser.receive() for _ in range(4)]
    assert [data["frame"]["sequence"] for _, data in answers] == [1, 2, 3, 4]
    assert [name for name, _ in answers] == ["detection_result", "error"] * 2


async def test_configure_is_confirmed_with_the_values_that_apply() -> None:
    """And frames without a camera have the configured one."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        wanted = {
            "camera": "door",
            "max_frame_rate": 5.0,
            "buffer_frames": 3,
            "priority": 20,
            "max_age": 0.25,
        }
        await browser.send("configure", wanted)
        event, data = await browser.receive()
        await browser.send_frame()
        result = await browser.result()
    assert event == "configured"
    assert {key: data[key] for key in wanted} == wanted
    assert result["frame"]["camera"] == "door"
    assert len(detector.configs) == 1
    assert detector.configs[0].max_age == Duration(nanos=250_000_000)


async def test_without_a_largest_age_there_is_none() -> None:
    """It is null in what is confirmed, and absent in what the detector is told."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        await browser.send("configure", {"priority": 5})
        _, data = await browser.receive()
    assert (data["priority"], data["max_age"]) == (5, None)
    assert not detector.configs[0].HasField("max_age")


async def test_frames_reach_the_detector_before_they_are_answered() -> None:
    """Several may be under way: nothing waits for an answer."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.gate.clear()
        for number in range(1, 3):
            await browser.send_frame(frame_id=str(number))
        (session,) = bridge.server._sessions
        await until(lambda: session._queue.in_flight == 2)
        detector.gate.set()
        assert [(await browser.result())["frame"]["frame_id"] for _ in range(2)] == ["1", "2"]


async def test_a_camera_of_the_frames_own_is_kept() -> None:
    """One connection may speak for several."""
    async with fake_and_bridge() as (_, bridge), client(bridge.url) as browser:
        await browser.send_frame(camera="roof")
        assert (await browser.result())["frame"]["camera"] == "roof"


async def test_a_dropped_frame_is_counted_in_the_next_answer() -> None:
    """By reason, whoever dropped it."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.drop_frames = {"1", "2"}
        await browser.send_frame(frame_id="1")
        await browser.send_frame(frame_id="2")
        await browser.send_frame(frame_id="3")
        result = await browser.result()
    assert result["frame"]["sequence"] == 3
    assert sum(result["drops"].values()) == 2
    assert set(result["drops"]) <= {"superseded"}


async def test_streams_are_opened_with_the_first_frame_and_closed_with_the_connection() -> None:
    """An idle connection costs the detector nothing."""
    async with fake_and_bridge() as (detector, bridge):
        async with client(bridge.url) as browser:
            assert detector.opened == 0
            await browser.send_frame()
            await browser.result()
            assert detector.streams == 1
        async with asyncio.timeout(10):
            while detector.streams:
                await asyncio.sleep(0.002)


async def test_a_context_beyond_reason_costs_no_frame() -> None:
    """It would not fit into a call's metadata; what is passed on of it is enough to say that it is malformed."""
    headers = [("tracestate", f"a={'x' * 8000}")] * 8
    async with (
        fake_and_bridge() as (detector, bridge),
        client(bridge.url, additional_headers=headers) as browser,
    ):
        await browser.send_frame(traceparent=1_000_000 * "x", tracestate=1_000_000 * "y")
        await browser.result()
    (frame,) = detector.frames
    assert 512 < len(frame.traceparent) < 1000
    assert 512 < len(frame.tracestate) < 1000
