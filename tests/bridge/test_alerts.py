"""Alerts: only after subscribing, from every detector, of the cameras asked for."""

import asyncio

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from tests.bridge.bridges import bridging, client, fake_and_bridge
from tests.bridge.fake_detector import FakeDetector, faking
from tests.servers import until


def alert(camera: str, number: str = "1") -> pb.Alert:
    """Return a crowd warning."""
    return pb.Alert(
        type=pb.ALERT_TYPE_CROWD_WARNING,
        level=pb.ALERT_LEVEL_WARNING,
        message="Crowd threshold exceeded",
        camera=camera,
        time=Timestamp(seconds=1_640_995_200),
        alert_id=number,
        total_people=12,
        crowd_threshold=10,
    )


async def giving(detector: FakeDetector) -> "asyncio.Queue[pb.Alert]":
    """Have a detector give alerts."""
    detector.alerts = asyncio.Queue()
    return detector.alerts


async def test_alerts_come_after_subscribing_from_every_detector() -> None:
    """As they were raised; an alert of no crowd has no figures of one."""
    async with (
        faking(2) as (one, two),
        bridging(one.address, two.address) as bridge,
        client(bridge.url) as browser,
    ):
        first, second = await giving(one), await giving(two)
        await browser.send("subscribe_alerts")
        first.put_nowait(alert("door"))
        event, data = await browser.receive()
        assert event == "alert"
        assert data == {
            "type": "crowd_warning",
            "level": "warning",
            "message": "Crowd threshold exceeded",
            "camera": "door",
            "timestamp": 1640995200000,
            "alert_id": "1",
            "total_people": 12,
            "crowd_threshold": 10,
        }
        second.put_nowait(pb.Alert(type=pb.ALERT_TYPE_CONNECTION_LIMIT, alert_id="2"))
        event, data = await browser.receive()
        assert (data["type"], data["alert_id"]) == ("connection_limit", "2")
        assert "total_people" not in data


async def test_only_the_cameras_asked_for() -> None:
    """A new subscription replaces the one before; frames go on meanwhile."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        queue = await giving(detector)
        await browser.send("subscribe_alerts", {"cameras": ["door"]})
        queue.put_nowait(alert("roof", "1"))
        queue.put_nowait(alert("door", "2"))
        assert (await browser.receive())[1]["alert_id"] == "2"
        await browser.send("subscribe_alerts", {"cameras": ["roof"]})
        await until(lambda: detector.watched == [["roof"]])
        queue.put_nowait(alert("door", "3"))
        queue.put_nowait(alert("roof", "4"))
        assert (await browser.receive())[1]["alert_id"] == "4"
        await browser.send_frame()
        await browser.result()


async def test_unsubscribing() -> None:
    """Nothing comes any more, and the detector is let go."""
    async with (
        fake_and_bridge(idle_timeout=1.0) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        queue = await giving(detector)
        await browser.send("subscribe_alerts")
        queue.put_nowait(alert("door", "1"))
        assert (await browser.receive())[1]["alert_id"] == "1"
        # Who only listens need not speak; who does neither is let go.
        async with client(bridge.url) as idle:
            assert await idle.closed() == 1000
        queue.put_nowait(alert("door", "2"))
        assert (await browser.receive())[1]["alert_id"] == "2"
        await browser.send("unsubscribe_alerts")
        assert await browser.closed() == 1000


async def test_alerts_go_on_after_a_restart() -> None:
    """Of the detector."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        (await giving(detector)).put_nowait(alert("door", "1"))
        await browser.send("subscribe_alerts")
        assert (await browser.receive())[1]["alert_id"] == "1"
        await detector.stop()
        (await giving(detector)).put_nowait(alert("door", "2"))
        await detector.restart()
        assert (await browser.receive())[1]["alert_id"] == "2"


async def test_who_was_refused_is_not_spared_the_idle_timeout() -> None:
    """There is no subscription then."""
    async with fake_and_bridge(idle_timeout=1.0) as (_, bridge), client(bridge.url) as browser:
        await browser.send("subscribe_alerts")
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        assert await browser.closed() == 1000
