"""What the bridge has done, and how often connections that are cut off are told of."""

import asyncio

from structlog.testing import capture_logs

from bridge.stats import Stats, difference
from tests.bridge.bridges import client, fake_and_bridge
from tests.servers import until


def test_differences_are_of_two_moments() -> None:
    """What is counted afterwards is in neither; where nothing was done there are none."""
    stats = Stats(connections=2)
    before = stats.snapshot()
    assert difference(before, stats.snapshot()) is None
    stats.frames += 3
    stats.refused["INVALID_FRAME"] += 1
    now = stats.snapshot()
    stats.refused["INVALID_FRAME"] += 1
    grown = difference(before, now)
    assert grown is not None
    assert (grown["connections"], grown["frames"], grown["dropped"]) == (0, 3, {})
    assert grown["refused"] == {"INVALID_FRAME": 1}


async def test_a_connections_work_is_counted() -> None:
    """Frames that get no result, too."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.drop_frames = {"2"}
        for number in range(1, 4):
            await browser.send_frame(frame_id=str(number))
            if number != 2:
                await browser.result()
        await browser.send("nonsense")
        await browser.error()
        stats = bridge.server.stats
        assert (stats.connections, stats.messages_in, stats.frames, stats.results) == (1, 4, 3, 2)
        assert stats.messages_out == 4  # with the first event
        assert stats.dropped.total() == 1
        assert stats.refused == {"UNKNOWN_EVENT": 1}


async def test_each_frame_comes_to_something() -> None:
    """It gets a result, is refused, is dropped, or its client leaves."""
    async with fake_and_bridge(bridge_buffer_frames=1) as (detector, bridge):
        stats = bridge.server.stats
        async with client(bridge.url) as browser:
            await browser.send_frame()
            await browser.result()
            await browser.send("process_frame", {"frame": "not base64!"})
            await browser.error()
            detector.gate.clear()
            for _ in range(4):
                await browser.send_frame()
            await until(lambda: stats.frames == 6)
        await until(lambda: not bridge.server._sessions)
        detector.gate.set()
    assert (stats.frames, stats.results, stats.refused["INVALID_FRAME"]) == (6, 1, 1)
    assert stats.abandoned
    assert stats.abandoned + stats.dropped.total() == 4


async def test_connections_that_are_cut_off_are_told_too() -> None:
    """They get no word themselves."""
    with capture_logs() as lines:
        async with fake_and_bridge(max_connections_per_address=1) as (_, bridge):
            writers = [
                (await asyncio.open_connection("127.0.0.1", bridge.port))[1] for _ in range(20)
            ]
            await until(lambda: bridge.server.stats.refused["TCP_CONNECTIONS"] == 3)
            for writer in writers:
                writer.close()
    told = [line for line in lines if line.get("reason") == "TCP_CONNECTIONS"]
    assert [line["event"] for line in told] == ["connection.refused"] * 3
