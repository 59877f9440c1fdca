"""`detector-run`: both under one command, and what the supervisor does when one of them ends."""

import asyncio
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme

from bridge.supervisor import Command, Supervisor
from tests.bridge.bridges import Client, client
from tests.servers import Process, service_process, until

MODULE = "bridge.run"

CHILD = """
import os, signal, sys, time
from bridge.readiness import say_ready
def on_term(number, frame):
    print("told", flush=True)
    if "stubborn" not in sys.argv: sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
with open(sys.argv[1], "a") as log: log.write(f"{os.getpid()}\\n")
if "never-ready" in sys.argv: sys.exit(7)
say_ready()
while True: time.sleep(0.01)
"""


@asynccontextmanager
async def running(**environment: str) -> AsyncIterator[tuple[Process, list[str]]]:
    """Run the command until both serve; give what it printed."""
    async with service_process(module=MODULE, **environment) as run:
        assert run.process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(60):
            while not lines or "Ctrl-C" not in lines[-1]:
                line = (await run.process.stdout.readline()).decode()
                assert line, "it ended before both served"
                lines.append(line)
        yield run, lines


async def served(browser: Client, photo: bytes) -> dict[str, Any]:
    """Send a frame; return its result. The bridge may learn a moment later that the detector serves."""
    await browser.send_frame(photo)
    event, data = await browser.receive()
    if event == "error":
        assert data["code"] == "DETECTOR_UNAVAILABLE"
        data = await browser.result()
    return data


def websocket(lines: list[str]) -> str:
    """Return the address that was printed."""
    (found,) = [word for line in lines for word in line.split() if word.startswith("ws")]
    return found


async def test_it_serves_prints_addresses_and_stops_both(photo: bytes) -> None:
    """From a photograph to a result; SIGINT ends both, the bridge first, and leaves nothing behind."""
    async with running() as (run, lines):
        async with client(websocket(lines)) as browser:
            assert (await served(browser, photo))["crowd_analysis"]["face_count"] >= 1
        health = websocket(lines).replace("ws", "http", 1).replace("/ws", "/health")

        def status() -> int:
            with urllib.request.urlopen(health) as answer:
                return int(answer.status)

        assert await asyncio.to_thread(status) == 200
        assert any("gRPC" in line for line in lines)
        family = psutil.Process(run.process.pid).children(recursive=True)
        assert len(family) == 2
        run.signal(signal.SIGINT)
        assert await run.ended() == 0
        assert not any(each.is_running() for each in family)
        order = [line for line in run.errors.splitlines() if ".stopped" in line]
        assert "bridge.stopped" in order[0]
        assert "service.stopped" in order[1]


async def test_a_detector_that_crashed_is_started_again(photo: bytes) -> None:
    """The browser stays connected, and is served again."""
    async with running() as (run, lines), client(websocket(lines)) as browser:
        await served(browser, photo)
        (detector,) = [
            each
            for each in psutil.Process(run.process.pid).children()
            if "detector_service" in each.cmdline()
        ]
        detector.kill()
        assert (await browser.error())["code"] == "DETECTOR_UNAVAILABLE"
        await browser.send_frame(photo, frame_id="later")
        assert (await browser.result())["frame"]["frame_id"] == "later"
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0
        assert "detector-service ended with code 137; it is started again" in run.errors


async def test_a_crash_at_start_ends_it_with_the_same_code(tmp_path: Path) -> None:
    """With the child's own words, and without the other one."""
    async with service_process(module=MODULE, FACE_MODEL_PATH=str(tmp_path / "no.onnx")) as run:
        assert await run.ended() == 1
    assert "there is no such file" in run.errors
    assert "detector-service ended with code 1 before it served" in run.errors
    async with service_process(module=MODULE, MAX_FRAME_RATE="-1") as run:
        assert await run.ended() == 2
    assert "MAX_FRAME_RATE=-1" in run.errors
    async with service_process(module=MODULE, PORT="-1") as run:
        assert await run.ended() == 2
    assert "PORT=-1" in run.errors


async def test_children_end_with_it_even_where_it_is_killed() -> None:
    """The kernel tells them."""
    async with running() as (run, _):
        family = psutil.Process(run.process.pid).children(recursive=True)
        run.signal(signal.SIGKILL)
        await run.process.wait()
        await asyncio.to_thread(psutil.wait_procs, family, 30)
        assert not any(each.is_running() for each in family)


async def test_tokens_and_tls_are_shared(tmp_path: Path, photo: bytes) -> None:
    """One certificate and one file of tokens serve both ports; the bridge trusts and is trusted."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "tokens").write_text("secret\n")
    import ssl

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    async with running(
        TLS_CERT_FILE=str(tmp_path / "cert.pem"),
        TLS_KEY_FILE=str(tmp_path / "key.pem"),
        AUTH_TOKENS_FILE=str(tmp_path / "tokens"),
    ) as (run, lines):
        assert websocket(lines).startswith("wss://")
        async with client(
            websocket(lines), ssl=trust, additional_headers={"Authorization": "Bearer secret"}
        ) as browser:
            await served(browser, photo)
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0


class Watched:
    """A supervisor in this process, with children that only wait."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.said: list[str] = []
        self.ready = asyncio.Event()
        self.log = folder / "pids"
        command = Command("child", [sys.executable, "-c", CHILD, str(self.log), *words])
        self.supervisor = Supervisor([[command]], self.said.append, self.ready.set)

    def pids(self) -> list[int]:
        """Return the processes that were started."""
        return [int(line) for line in self.log.read_text().splitlines()]


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    """At once, with its code."""
    watched = Watched(tmp_path, "never-ready")
    assert await watched.supervisor.run() == 7
    assert len(watched.pids()) == 1
    assert not watched.ready.is_set()


async def test_a_child_that_crashes_is_started_after_growing_pauses(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Each twice as long as the one before."""
    monkeypatch.setattr("bridge.supervisor._PAUSES", (0.01, 0.04))
    watched = Watched(tmp_path)
    running = asyncio.create_task(watched.supervisor.run())
    await watched.ready.wait()
    for lives in range(1, 5):
        await until(lambda lives=lives: len(watched.pids()) == lives)  # type: ignore[misc]
        psutil.Process(watched.pids()[-1]).kill()
        await until(lambda lives=lives: len(watched.said) == lives)  # type: ignore[misc]
    assert [line.rpartition(" in ")[2] for line in watched.said] == [
        "0.01 s",
        "0.02 s",
        "0.04 s",
        "0.04 s",
    ]
    watched.supervisor._on_signal(signal.SIGTERM)
    assert await running == 0


async def test_a_child_that_does_not_obey_is_killed_after_a_second_signal(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """And the exit code says so."""
    monkeypatch.setattr("bridge.supervisor._CUT_OFF_SECONDS", 0.1)
    watched = Watched(tmp_path, "stubborn")
    running = asyncio.create_task(watched.supervisor.run())
    await watched.ready.wait()
    watched.supervisor._on_signal(signal.SIGTERM)
    await asyncio.sleep(0)
    assert not running.done()
    watched.supervisor._on_signal(signal.SIGTERM)
    assert await running == 128 + signal.SIGTERM
    assert not psutil.pid_exists(watched.pids()[0])


@pytest.mark.parametrize("module", ["bridge.run", "bridge.__main__"])
def test_what_watches_processes_does_not_import_grpc(module: str) -> None:
    """It stays light, and may start processes at any time."""
    import subprocess

    code = f"import sys, {module}; print([m for m in sys.modules if m in ('grpc', 'numpy', 'websockets')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
