"""`detector-bridge` as a process: exit codes, signals, logs, workers."""

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidHandshake

from bridge.__main__ import _is_a_fault_of_ours
from tests import log_lines
from tests.bridge.bridges import client
from tests.bridge.fake_detector import faking
from tests.servers import Process, service_process, until

MODULE = "bridge"


def url(bridge: Process) -> str:
    """Return where its WebSocket is."""
    return f"ws://{bridge.address}/ws"


async def test_bad_settings_end_it_with_2() -> None:
    """All that is wrong is named."""
    async with service_process(
        module=MODULE, DETECTOR_ADDRESS="nowhere", PORT="x", ALLOWED_ORIGINS="example.org"
    ) as bridge:
        assert await bridge.ended() == 2
    for words in ("DETECTOR_ADDRESS=nowhere: ", "PORT=x: ", "ALLOWED_ORIGINS=example.org: "):
        assert f"detector-bridge: {words}" in bridge.errors
    assert "Traceback" not in bridge.errors


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_variable_of_opentelemetrys_that_cannot_be_kept_to_ends_it_with_2(
    workers: str,
) -> None:
    """Before a worker is started."""
    async with service_process(
        module=MODULE, BRIDGE_WORKERS=workers, OTEL_METRICS_EXPORTER="console"
    ) as bridge:
        assert await bridge.ended() == 2
    assert bridge.errors.startswith("detector-bridge: OTEL_METRICS_EXPORTER=console: ")
    assert bridge.errors.count("\n") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_port_in_use_ends_it_with_2(workers: str) -> None:
    """By name, rather than sharing the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with service_process(module=MODULE, PORT=port, BRIDGE_WORKERS=workers) as bridge:
            assert await bridge.ended() == 2
    assert f"PORT={port}: cannot listen there" in bridge.errors
    assert "choose another PORT, or end what uses this one" in bridge.errors


async def test_print_config_shows_what_applies() -> None:
    """As lines of a .env file."""
    async with service_process("--print-config", module=MODULE, PORT="9") as bridge:
        assert bridge.process.stdout is not None
        shown = (await bridge.process.stdout.read()).decode().splitlines()
        assert await bridge.ended() == 0
    assert {"PORT=9", "MAX_CONCURRENT_CONNECTIONS=50"} <= set(shown)


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(workers: str, number: signal.Signals) -> None:
    """Clients are told 1001, the exit code is 0, nothing is left; logs are JSON, a file for each process."""
    async with (
        faking() as (detector,),
        service_process(
            module=MODULE, DETECTOR_ADDRESS=detector.address, BRIDGE_WORKERS=workers
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")
        family = psutil.Process(bridge.process.pid).children(recursive=True)
        assert len(family) == (0 if workers == "1" else 3)
        async with client(url(bridge)) as browser:
            await browser.send_frame()
            await browser.result()
            bridge.signal(number)
            assert await browser.closed() == 1001
        assert await bridge.ended() == 0
        assert not any(each.is_running() for each in family)
        files = {path.name for path in bridge.log.parent.iterdir()}
        lines = [
            json.loads(line)
            for path in bridge.log.parent.glob("app.bridge*.log")
            for line in path.read_text().splitlines()
        ]
    assert files == {"app.bridge.log"} | (
        set() if workers == "1" else {f"app.bridge.{worker}.log" for worker in "123"}
    )
    assert {"bridge.draining", "bridge.stopped"} <= {line["event"] for line in lines}
    assert all(line.startswith("{") for line in bridge.errors.splitlines())


async def test_a_second_signal_ends_it_at_once() -> None:
    """While a frame holds up the drain."""
    async with (
        faking() as (detector,),
        service_process(
            module=MODULE, DETECTOR_ADDRESS=detector.address, DRAIN_TIMEOUT="600"
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")
        async with client(url(bridge)) as browser:
            detector.gate.clear()
            await browser.send_frame()
            await until(lambda: detector.frames)
            bridge.signal(signal.SIGTERM)
            assert bridge.process.stderr is not None
            async with asyncio.timeout(30):
                while b"bridge.draining" not in (line := await bridge.process.stderr.readline()):
                    assert line
            bridge.signal(signal.SIGTERM)
            assert await bridge.ended() == 128 + signal.SIGTERM
        detector.gate.set()


async def test_workers_share_the_limit_and_a_killed_one_is_replaced() -> None:
    """Its slots are free again at once."""
    async with (
        faking() as (detector,),
        service_process(
            module=MODULE,
            DETECTOR_ADDRESS=detector.address,
            BRIDGE_WORKERS="2",
            MAX_CONCURRENT_CONNECTIONS="6",
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")
        stack = [client(url(bridge)) for _ in range(6)]
        browsers = [await each.__aenter__() for each in stack]
        async with client(url(bridge), welcome=False) as seventh:
            assert (await seventh.error())["code"] == "CONNECTION_LIMIT"
        workers = psutil.Process(bridge.process.pid).children()
        assert len(workers) == 2
        held = [
            sum(
                each.status == "ESTABLISHED" and each.laddr.port == int(bridge.address[10:])
                for each in worker.net_connections("tcp")
            )
            for worker in workers
        ]
        victim = workers[held.index(max(held))]
        victim.kill()
        lost = [browser for browser in browsers if not await _answers(browser)]
        assert len(lost) == max(held)
        again: list[Any] = []
        while len(again) < len(lost):
            try:
                replacement = client(url(bridge))
                browser = await replacement.__aenter__()
            except (AssertionError, OSError, InvalidHandshake):
                continue  # its slot, or its port, is a moment from being free
            again.append((replacement, browser))
            assert await _answers(browser)
        for replacement, _ in again:
            await replacement.__aexit__(None, None, None)
        for each in stack:
            await each.__aexit__(None, None, None)
        assert bridge.process.stderr is not None
        bridge.signal(signal.SIGTERM)
        assert await bridge.ended() == 0
        assert "worker.ended" in bridge.errors


def test_what_fails_in_the_websocket_library_is_logged() -> None:
    """A client that did not shake hands is no fault of ours."""
    failed, stranger = (
        logging.LogRecord("websockets.server", logging.ERROR, "", 0, text, (), None)
        for text in ("connection handler failed", "opening handshake failed")
    )
    assert _is_a_fault_of_ours(failed)
    assert not _is_a_fault_of_ours(stranger)


async def test_a_flood_of_refused_connections_leaves_few_lines() -> None:
    """The last when the bridge goes down; none is left out of their sum."""
    async with (
        faking() as (detector,),
        service_process(
            module=MODULE, DETECTOR_ADDRESS=detector.address, MAX_CONCURRENT_CONNECTIONS="1"
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")

        async def knock() -> None:
            async with client(url(bridge), welcome=False) as refused:
                assert await refused.closed() == 1013

        async with client(url(bridge)):
            await asyncio.gather(*(knock() for _ in range(30)))
        bridge.signal(signal.SIGTERM)
        assert await bridge.ended() == 0
        lines = log_lines.check(bridge.log.with_name("app.bridge.log").read_text())
    told = [line for line in lines if line["event"] == "connection.refused"]
    assert sum(line.get("repeated", 1) for line in told) == 30
    assert len(told) < 30
    assert {line["reason"] for line in told} == {"CONNECTION_LIMIT"}
    done = [line for line in lines if line["event"] == "bridge.performance"]
    assert sum(line["refused"].get("CONNECTION_LIMIT", 0) for line in done) == 30


async def test_workers_share_the_limit_of_an_address() -> None:
    """Whichever of them it comes to."""
    async with (
        faking() as (detector,),
        service_process(
            module=MODULE,
            DETECTOR_ADDRESS=detector.address,
            BRIDGE_WORKERS="3",
            MAX_CONNECTIONS_PER_ADDRESS="2",
        ) as bridge,
    ):
        await bridge.serves("bridge.serving")
        async with client(url(bridge)), client(url(bridge)):
            for _ in range(8):  # more than one worker gets some of them
                async with client(url(bridge), welcome=False) as one_more:
                    assert (await one_more.error())["code"] == "CONNECTION_LIMIT"
                    assert await one_more.closed() == 1013


async def test_workers_that_cannot_start_end_it_with_their_code(tmp_path: Path) -> None:
    """With their own words."""
    (tmp_path / "tokens").touch()
    async with service_process(
        module=MODULE, BRIDGE_WORKERS="3", AUTH_TOKENS_FILE=str(tmp_path / "tokens")
    ) as bridge:
        assert await bridge.ended() == 2
    assert "detector-bridge: AUTH_TOKENS_FILE=" in bridge.errors
    assert "ended with code 2 before it served; ending, too" in bridge.errors


async def _answers(browser) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001
    try:
        await browser.send_frame()
        await browser.result()
    except Exception:  # noqa: BLE001 - however it ended
        return False
    return True


async def test_workers_end_with_the_process_that_watches_them() -> None:
    """Even where it was killed."""
    async with service_process(module=MODULE, BRIDGE_WORKERS="2") as bridge:
        await bridge.serves("bridge.serving")
        workers = psutil.Process(bridge.process.pid).children()
        bridge.signal(signal.SIGKILL)
        await bridge.process.wait()
        await asyncio.to_thread(psutil.wait_procs, workers, 30)
        assert not any(worker.is_running() for worker in workers)


def test_it_imports_nothing_heavy() -> None:
    """None of its modules brings a model's, a picture's or a database's library, or the service's insides."""
    code = """
import importlib, pkgutil, sys, bridge
for module in pkgutil.iter_modules(bridge.__path__):
    importlib.import_module(f"bridge.{module.name}")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"bridge", "grpc", "websockets"} <= imported
    assert not imported & {
        *("numpy", "cv2", "PIL", "scipy", "simplejpeg", "openvino", "torch", "onnx", "ultralytics"),
        *("sqlalchemy", "sqlite3", "redis", "ray", "pandas", "matplotlib"),
        *("detector_service", "crowd_detector"),
    }


async def test_it_is_light_and_starts_without_a_detector() -> None:
    """No model, no numpy; less than 80 MB resident."""
    async with service_process(module=MODULE, DETECTOR_ADDRESS="127.0.0.1:1") as bridge:
        await bridge.serves("bridge.serving")
        process = psutil.Process(bridge.process.pid)
        assert process.memory_info().rss < 80_000_000
        mapped = {Path(each.path).name for each in process.memory_maps()}
        assert not [
            name for name in mapped if "numpy" in name or "openvino" in name or "cv2" in name
        ]
