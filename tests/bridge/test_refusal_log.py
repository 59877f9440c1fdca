"""Lines about refused connections: few, and none is left out of their sum."""

import asyncio

from structlog.testing import capture_logs

from bridge.refusal_log import RefusalLog
from tests.bridge.bridges import client, fake_and_bridge
from tests.servers import until


async def test_the_first_is_told_at_once_and_the_others_by_number() -> None:
    """Each reason on its own; once there are none for an interval, the next is a first one again."""
    with capture_logs() as lines:
        log = RefusalLog(interval=0.2)
        for _ in range(1000):
            log.add("full", "too many")
        log.add("stranger", "who are you")
        assert [(line["event"], line["reason"]) for line in lines] == [
            ("connection.refused", "full"),
            ("connection.refused", "stranger"),
        ]
        await until(lambda: not log._timers)
        log.add("full", "too many")
        log.add("full", "too many")
        log.close()
    assert [line["count"] for line in lines if line["event"] == "connections.refused"] == [999, 1]
    assert [line["reason"] for line in lines].count("full") == 4


async def test_connections_that_are_cut_off_are_told_too() -> None:
    """They get no word themselves."""
    with capture_logs() as lines:
        async with fake_and_bridge(max_connections_per_address=1) as (_, bridge):
            writers = [
                (await asyncio.open_connection("127.0.0.1", bridge.port))[1] for _ in range(20)
            ]
            await until(lambda: sum(bridge.server._refusals._untold.values()) == 2)
            for writer in writers:
                writer.close()
    told = [line for line in lines if line.get("reason") == "TCP_CONNECTIONS"]
    assert [line.get("count") for line in told] == [None, 2]


async def test_a_flood_of_refused_connections_leaves_few_lines() -> None:
    """The last when the bridge goes down."""
    with capture_logs() as lines:
        async with fake_and_bridge(max_concurrent_connections=1) as (_, bridge), client(bridge.url):

            async def knock() -> None:
                async with client(bridge.url, welcome=False) as refused:
                    assert await refused.closed() == 1013

            await asyncio.gather(*(knock() for _ in range(30)))
    told = [line for line in lines if line["log_level"] == "warning" and "refused" in line["event"]]
    assert sum(line.get("count", 1) for line in told) == 30
    assert len(told) < 5
    assert {line["reason"] for line in told} == {"CONNECTION_LIMIT"}
