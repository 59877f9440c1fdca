"""`detector-run`: both under one command, and what the supervisor does when one of them ends."""

import asyncio
import signal
import socket
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme

from bridge.run import RunSettings, _with_ports, main
from bridge.supervisor import Command, Supervisor
from tests.bridge.bridges import Client, client
from tests.servers import Process, service_process, until

MODULE = "bridge.run"

CHILD = """
import os, signal, sys, time
from telemetry.readiness import say_ready
def on_term(number, frame):
    open(sys.argv[1] + ".told", "w").close()
    if "stubborn" not in sys.argv: sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
with open(sys.argv[1], "a") as log: log.write(f"{os.getpid()}\\n")
if "never-ready" in sys.argv: sys.exit(7)
say_ready()
while True: time.sleep(0.01)
"""

WATCHER = """
import asyncio, sys
from telemetry.readiness import say_ready
from bridge.supervisor import Command, Supervisor
grandchild = Command("grandchild", [sys.executable, "-c", *sys.argv[1:]])
sys.exit(asyncio.run(Supervisor([[grandchild]], print, say_ready).run()))
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
                if not line:
                    raise AssertionError(f"{await run.ended()} before both served:\n{run.errors}")
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
    async with service_process(module=MODULE, HOST="nowhere.invalid") as run:
        assert await run.ended() == 2
    assert "HOST=nowhere.invalid: no port can be found there" in run.errors


@pytest.mark.parametrize(
    ("variable", "by"), [("PORT", "detector-bridge"), ("GRPC_PORT", "detector-service")]
)
async def test_a_port_in_use_ends_it_with_2(variable: str, by: str) -> None:
    """By the name of its variable, with the cure."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with service_process(module=MODULE, **{variable: port}) as run:
            assert await run.ended() == 2
    (complaint,) = [line for line in run.errors.splitlines() if f" {variable}={port}: " in line]
    assert complaint.startswith(f"{by}: HOST=127.0.0.1, ")
    assert "end what uses" in complaint


@pytest.mark.parametrize("given", [{}, {"port": 20_001}, {"grpc_port": 20_001}])
def test_the_two_ports_differ(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    """Also where the one that is found is the one that was set: neither listens yet."""
    found = iter([20_001, 20_001, 20_001, 20_002, 20_003])
    monkeypatch.setattr("bridge.ports.free", lambda _: next(found))
    settings = _with_ports(RunSettings(**({"port": 0, "grpc_port": 0, "_env_file": None} | given)))
    assert settings.port != settings.grpc_port
    assert given.items() <= settings.model_dump().items()


@pytest.mark.parametrize(
    ("given", "admin_port"),
    [
        ({"grpc_port": 0}, "0"),
        ({"grpc_port": 0, "admin_port": "9000"}, "9000"),
        ({"grpc_port": 20_001}, None),
    ],
)
def test_who_takes_any_port_takes_any_admin_port(
    given: dict[str, Any], admin_port: str | None
) -> None:
    """So that a second one on a machine gets on with the first; what is set stays, None is the detector's default."""
    settings = _with_ports(RunSettings(**({"port": 0, "_env_file": None} | given)))
    assert settings.admin_port == admin_port


def test_what_else_fails_is_not_said_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot be started, say."""

    async def fail(*_: object) -> int:
        raise OSError("no more processes")

    monkeypatch.setattr("bridge.run._run", fail)
    with pytest.raises(OSError, match="no more processes"):
        main([])


async def stop(process: psutil.Process) -> None:
    """Stop a process, as a debugger or SIGSTOP does."""
    process.suspend()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stopped", [False, True])
async def test_children_end_with_it_even_where_it_is_killed(workers: str, stopped: bool) -> None:
    """The kernel tells them, and theirs; even those that are stopped."""
    async with running(BRIDGE_WORKERS=workers) as (run, _):
        family = psutil.Process(run.process.pid).children(recursive=True)
        assert len(family) == (2 if workers == "1" else 4)
        for each in family if stopped else ():
            await stop(each)
        run.signal(signal.SIGKILL)
        await run.process.wait()
        await asyncio.to_thread(psutil.wait_procs, family, 30)
        assert not any(each.is_running() for each in family)


async def test_stopped_children_drain() -> None:
    """They are continued as they are told to end."""
    async with running(BRIDGE_WORKERS="2") as (run, _):
        for each in psutil.Process(run.process.pid).children(recursive=True):
            await stop(each)
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0
        assert run.errors.count('"bridge.stopped"') == 2
        assert '"service.stopped"' in run.errors


def issue(folder: Path, authority: trustme.CA, *names: str, **options: Any) -> dict[str, str]:
    """Have a certificate issued; return the settings that name its files."""
    certificate = authority.issue_cert(*names, **options)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return {
        "TLS_CERT_FILE": str(folder / "cert.pem"),
        "TLS_KEY_FILE": str(folder / "key.pem"),
    }


def unverified() -> ssl.SSLContext:
    """Return what a browser trusts any certificate with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "names", [["localhost", "127.0.0.1"], ["crowd.example"], ["*.example"], ["192.0.2.7"]]
)
async def test_tokens_and_tls_are_shared(tmp_path: Path, photo: bytes, names: list[str]) -> None:
    """One certificate and one file of tokens serve both ports; the bridge trusts and is trusted."""
    (tmp_path / "tokens").write_text("secret\n")
    async with running(
        **issue(tmp_path, trustme.CA(), *names), AUTH_TOKENS_FILE=str(tmp_path / "tokens")
    ) as (run, lines):
        assert websocket(lines).startswith("wss://")
        async with client(
            websocket(lines),
            ssl=unverified(),
            additional_headers={"Authorization": "Bearer secret"},
        ) as browser:
            await served(browser, photo)
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0


async def test_mutual_tls(tmp_path: Path, photo: bytes) -> None:
    """The bridge shows a certificate of its own; without one, nothing is started."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = tmp_path / "bridge"
    own.mkdir()
    files = issue(own, authority, "bridge")
    settings = issue(tmp_path, authority, "crowd.example") | {
        "TLS_CLIENT_CA_FILE": str(tmp_path / "ca.pem")
    }
    async with service_process(module=MODULE, **settings) as run:
        assert await run.ended() == 2
    assert "TLS_CLIENT_CA_FILE is set" in run.errors
    assert "set DETECTOR_CERT_FILE and DETECTOR_KEY_FILE" in run.errors
    settings |= {
        "DETECTOR_CERT_FILE": files["TLS_CERT_FILE"],
        "DETECTOR_KEY_FILE": files["TLS_KEY_FILE"],
    }
    for trusted in ({}, {"DETECTOR_CA_FILE": str(tmp_path / "ca.pem")}):
        async with (
            running(**settings, **trusted) as (_, lines),
            client(websocket(lines), ssl=unverified()) as browser,
        ):
            await served(browser, photo)


async def test_a_certificate_that_nobody_can_trust_is_refused(tmp_path: Path) -> None:
    """Before anything is started; files that are none are the processes' to refuse."""
    past = datetime(2001, 1, 1, tzinfo=UTC)
    settings = issue(tmp_path, trustme.CA(), "a.example", not_before=past, not_after=past)
    async with service_process(module=MODULE, **settings) as run:
        assert await run.ended() == 2
    assert f"TLS_CERT_FILE={tmp_path / 'cert.pem'}: the bridge cannot trust it" in run.errors
    assert "expired" in run.errors
    async with service_process(
        module=MODULE, **issue(tmp_path, trustme.CA(), "m@a.example")
    ) as run:
        assert await run.ended() == 2
    assert "names no host" in run.errors
    (tmp_path / "cert.pem").write_text("nothing")
    async with service_process(module=MODULE, **settings) as run:
        assert await run.ended() == 2
    assert "are no certificate with its key" in run.errors


class Watched:
    """A supervisor in this process, with children, or a grandchild, that only wait."""

    def __init__(self, folder: Path, *words: str, through: str = "") -> None:
        self.said: list[str] = []
        self.ready = asyncio.Event()
        self.log = folder / "pids"
        self.told = folder / "pids.told"
        codes = [through, CHILD] if through else [CHILD]
        command = Command("child", [sys.executable, "-c", *codes, str(self.log), *words])
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


async def test_a_child_that_lived_long_begins_again_with_the_first_pause(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """A crash a day is no reason to wait for long."""
    monkeypatch.setattr("bridge.supervisor._PAUSES", (0.01, 0.04))
    monkeypatch.setattr("bridge.supervisor._STEADY_SECONDS", 0)
    watched = Watched(tmp_path)
    running = asyncio.create_task(watched.supervisor.run())
    await watched.ready.wait()
    for lives in range(1, 4):
        await until(lambda lives=lives: len(watched.pids()) == lives)  # type: ignore[misc]
        psutil.Process(watched.pids()[-1]).kill()
        await until(lambda lives=lives: len(watched.said) == lives)  # type: ignore[misc]
    assert {line.rpartition(" in ")[2] for line in watched.said} == {"0.01 s"}
    watched.supervisor._on_signal(signal.SIGTERM)
    assert await running == 0


async def test_one_that_cannot_start_takes_those_that_serve_with_it(tmp_path: Path) -> None:
    """They are told to end, and its code is what is given."""
    logs = [tmp_path / "good", tmp_path / "bad"]
    commands = [
        Command("good", [sys.executable, "-c", CHILD, str(logs[0])]),
        Command("bad", [sys.executable, "-c", CHILD, str(logs[1]), "never-ready"]),
    ]
    said: list[str] = []
    assert await Supervisor([commands], said.append, lambda: None).run() == 7
    assert said == ["bad ended with code 7 before it served; ending, too"]
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize("through", ["", WATCHER])
async def test_a_second_signal_kills_what_does_not_obey(tmp_path: Path, through: str) -> None:
    """At once, with what it started; the exit code says so."""
    watched = Watched(tmp_path, "stubborn", through=through)
    running = asyncio.create_task(watched.supervisor.run())
    await watched.ready.wait()
    family = psutil.Process().children(recursive=True)
    assert psutil.Process(watched.pids()[0]) in family
    watched.supervisor._on_signal(signal.SIGTERM)
    await until(watched.told.exists)
    assert not running.done()
    watched.supervisor._on_signal(signal.SIGINT)
    assert await running == 128 + signal.SIGINT
    await asyncio.to_thread(psutil.wait_procs, family, 30)
    assert not any(each.is_running() for each in family)


async def test_a_second_signal_kills_what_is_still_being_started(tmp_path: Path) -> None:
    """Nothing is left behind."""
    watched = Watched(tmp_path, "stubborn")
    running = asyncio.create_task(watched.supervisor.run())
    await asyncio.sleep(0)  # its task has begun
    watched.supervisor._on_signal(signal.SIGTERM)
    watched.supervisor._on_signal(signal.SIGTERM)
    assert await running == 128 + signal.SIGTERM
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize("module", ["bridge.run", "bridge.__main__"])
def test_what_watches_processes_does_not_import_grpc(module: str) -> None:
    """It stays light, and may start processes at any time."""
    import subprocess

    code = f"import sys, {module}; print([m for m in sys.modules if m in ('grpc', 'numpy', 'websockets')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
