"""The bridge's figures at /metrics."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from bridge import protocols
from bridge.stats import close_code
from tests.bridge.bridges import RunningBridge, client, fake_and_bridge
from tests.bridge.fake_detector import faking
from tests.bridge.test_http import ask, raw, serving
from tests.servers import Process, service_process, until
from tests.telemetry.pages import Page, parsed, scrape, value

PREFIX = "crowd_detector_bridge"


async def page_of(bridge: RunningBridge) -> Page:
    """Return what it tells, of which nobody asked before."""
    return parsed((await bridge.server._http._page()).decode())


async def test_a_frame_is_counted_and_measured() -> None:
    """From its message to its answer, by the protocol that its client speaks."""
    async with fake_and_bridge() as (_, bridge), client(bridge.url) as browser:
        for _ in range(3):
            await browser.send_frame()
            await browser.result()
        await browser.websocket.send("nonsense")
        await browser.error()
        page = await scrape(f"{bridge.http}/metrics")
    assert value(page, f"{PREFIX}_connections_open", protocol=protocols.JSON) == 1
    assert value(page, f"{PREFIX}_connections_open", protocol=protocols.PROTOBUF) == 0
    assert value(page, f"{PREFIX}_connections_opened_total") == 1
    assert value(page, f"{PREFIX}_tcp_connections_open") >= 1
    assert value(page, f"{PREFIX}_messages_received_total") == 4
    assert value(page, f"{PREFIX}_messages_sent_total") == 5  # with `connected`
    assert value(page, f"{PREFIX}_frames_received_total") == 3
    assert value(page, f"{PREFIX}_frames_processed_total") == 3
    assert value(page, f"{PREFIX}_answer_duration_seconds_count") == 3
    assert value(page, f"{PREFIX}_refusals_total", code="INVALID_MESSAGE") == 1
    assert value(page, f"{PREFIX}_detectors", state="serving") == 1


async def test_frames_that_wait_or_are_dropped_are_told() -> None:
    """And errors of the detector, by the code that the client is told."""
    async with fake_and_bridge(bridge_buffer_frames=1) as (detector, bridge):
        detector.fail_frames["bad"] = pb.FrameError(reason=pb.ERROR_REASON_CORRUPT_IMAGE)
        async with client(bridge.url) as browser:
            await browser.send_frame(frame_id="bad")
            await browser.error()
            detector.gate.clear()
            await browser.send_frame()
            await until(lambda: len(detector.frames) == 2)
            page = await page_of(bridge)
            detector.gate.set()
            await browser.result()
    assert value(page, f"{PREFIX}_queue_frames", state="in_detector") == 1
    assert value(page, f"{PREFIX}_refusals_total", code="UNSUPPORTED_IMAGE") == 1
    assert value(page, f"{PREFIX}_frames_dropped_total", reason="superseded") == 0


async def test_what_is_turned_away_is_told_by_its_reason(tmp_path: Path) -> None:
    """Strangers, pages of others, and those that come too many; and how each connection ended."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    good = {"Authorization": "Bearer secret"}
    settings = {"auth_tokens_file": tokens, "max_concurrent_connections": 1}
    with capture_logs() as lines:
        async with fake_and_bridge(**settings) as (_, bridge):
            wrong = {"Authorization": "Bearer wrong"}
            async with client(bridge.url, welcome=False, additional_headers=wrong) as stranger:
                assert await stranger.closed() == 1008
            with pytest.raises(InvalidStatus):
                async with client(bridge.url, origin="https://elsewhere.example"):
                    pass
            async with client(bridge.url, additional_headers=good) as first:
                async with client(bridge.url, welcome=False, additional_headers=good) as second:
                    assert await second.closed() == 1013
                await first.websocket.close(4321)
            status, *_ = await ask(bridge, "GET", "/metrics")
            await until(lambda: bridge.server.stats.closed.total() == 3)
            page = await page_of(bridge)
    refused = {"UNAUTHORIZED": 2, "ORIGIN_NOT_ALLOWED": 1, "CONNECTION_LIMIT": 1}
    for code, count in refused.items():
        assert value(page, f"{PREFIX}_refusals_total", code=code) == count
    told = [line for line in lines if line["event"] == "connection.refused"]
    assert Counter(line["reason"] for line in told) == refused
    for code in ("1008", "1013", "other"):
        assert value(page, f"{PREFIX}_connections_closed_total", code=code) == 1
    assert status == 401


async def test_alerts_are_told_by_type_and_level() -> None:
    """Those that subscribers got."""
    async with fake_and_bridge() as (detector, bridge), client(bridge.url) as browser:
        detector.alerts = asyncio.Queue()
        await browser.send("subscribe_alerts")
        await until(lambda: detector.watched)
        warning = pb.Alert(type=pb.ALERT_TYPE_CROWD_WARNING, level=pb.ALERT_LEVEL_ERROR)
        detector.alerts.put_nowait(warning)
        assert (await browser.receive())[0] == "alert"
        await until(lambda: bridge.server.stats.alerts)
        page = await page_of(bridge)
    assert value(page, f"{PREFIX}_alerts_total", type="crowd_warning", level="error") == 1
    assert value(page, f"{PREFIX}_alerts_total") == 1


async def test_a_flood_of_scrapes_is_answered() -> None:
    """Each of them, with one page a second."""
    async with fake_and_bridge() as (_, bridge):
        await serving(bridge)
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        answers = await asyncio.gather(*(raw(bridge, request) for _ in range(100)))
        status, headers, nothing = await ask(bridge, "HEAD", "/metrics")
    assert {head.partition(b"\r\n")[0] for head, _ in answers} == {b"HTTP/1.1 200 OK"}
    assert len({body for _, body in answers}) < 20
    assert (status, nothing) == (200, b"")
    assert headers["content-type"].startswith("text/plain")


async def test_a_worker_that_is_started_again_takes_nothing_from_the_others() -> None:
    """What it had counted ends under its own label; each scrape has the figures of all, whoever answers."""
    async with (
        faking() as (detector,),
        service_process(
            module="bridge", DETECTOR_ADDRESS=detector.address, BRIDGE_WORKERS="2"
        ) as process,
    ):
        await process.serves("bridge.serving")
        for _ in range(8):
            async with client(f"ws://{process.address}/ws"):
                pass
        before = await told_by_all(process, lambda closed: sum(closed.values()) == 8)
        lost, *_ = psutil.Process(process.process.pid).children()
        command = lost.cmdline()
        worker = command[command.index("--worker") + 1]
        other = {"1": "2", "2": "1"}[worker]
        lost.kill()
        after = await told_by_all(process, lambda closed: closed[worker] == 0)
    assert after[other] == before[other]


async def told_by_all(
    process: Process, condition: Callable[[dict[str, float]], bool]
) -> dict[str, float]:
    """Return how many connections each worker closed, once both tell of themselves, and a condition holds."""
    async with asyncio.timeout(60):
        while True:
            try:
                page = await scrape(f"http://{process.address}/metrics")
            except OSError:  # it was with the one that was killed
                continue
            if value(page, f"{PREFIX}_worker_up") == 2:
                closed = {
                    worker: value(page, f"{PREFIX}_connections_closed_total", worker=worker)
                    for worker in "12"
                }
                if condition(closed):
                    return closed
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("code", "told"), [(1000, "1000"), (None, "1006"), (3000, "other"), (4999, "other")]
)
def test_close_codes_are_few(code: int | None, told: str) -> None:
    """Whatever clients make up is one."""
    assert close_code(code) == told
