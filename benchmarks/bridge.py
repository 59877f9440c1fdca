"""What the bridge costs beside a gRPC stream to the same detector, and what a frame costs the bridge itself.

    python -m benchmarks.bridge [--rounds N] [--seconds S] [--idle N] [--soak S] [--out FILE]

Prints the figures, and writes them to benchmarks/bridge_results.json. Talks to 127.0.0.1 only. Each part is a
process of its own: the detector, the bridge, and the clients here.
"""

import argparse
import asyncio
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from websockets.asyncio.client import connect

from benchmarks import frames, machine
from benchmarks.bridge_clients import IN_FLIGHT, PROTOCOLS, StreamClient, WebSocketClient

_ROOT: Final = Path(__file__).resolve().parent.parent
_RESULTS: Final = _ROOT / "benchmarks" / "bridge_results.json"
_FRAME_BYTES: Final = 60_000
_CONNECTIONS: Final = 50
_RATE: Final = 2.0
_TARGETS: Final = {
    "cpu_ms_per_frame.json": ("<=", 0.7),
    "cpu_ms_per_frame.json-binary": ("<=", 0.5),
    "cpu_ms_per_frame.protobuf": ("<=", 0.5),
    "saturation.json": (">=", 0.9),
    "saturation.json-binary": (">=", 0.95),
    "saturation.protobuf": (">=", 0.95),
    "added_latency_ms.json": ("<=", 3.0),
    "fairness": (">=", 0.9),
    "idle_kb_per_connection": ("<=", 40.0),
    "memory_growth": ("<=", 1.02),
    "start.seconds": ("<=", 1.0),
    "start.rss_mb": ("<=", 80.0),
}


# ---- Processes -----------------------------------------------------------------------------------


@asynccontextmanager
async def _process(
    module: str, event: str, folder: Path, **environment: str
) -> AsyncIterator[tuple[psutil.Process, str]]:
    """Run a command until the block ends; give the process and the address it serves at."""
    path = os.pathsep.join(map(str, (_ROOT, _ROOT / "clients" / "python", _ROOT / "protos")))
    known = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": path}
    settings = {"HOST": "127.0.0.1", "PORT": "0", "GRPC_PORT": "0", "ADMIN_PORT": "off"}
    settings["LOG_FILE"] = str(folder / "log")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=folder,
        env=known | settings | environment,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while True:
            line = await process.stderr.readline()
            if not line:
                raise SystemExit(f"{module} ended before it served")
            record = json.loads(line) if line.startswith(b"{") else {}
            if record.get("event") == event:
                break
        reading = asyncio.create_task(process.stderr.read())
        yield psutil.Process(process.pid), record["address"]
        process.terminate()
        await process.wait()
        await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _detector(folder: Path) -> Any:
    return _process("detector_service", "service.serving", folder)


def _fake(folder: Path) -> Any:
    return _process("benchmarks.fake_detector", "fake.serving", folder)


def _bridge(folder: Path, detector: str, **environment: str) -> Any:
    settings = {"DETECTOR_ADDRESS": detector, "MAX_FRAME_RATE": "0"}
    return _process("bridge", "bridge.serving", folder, **(settings | environment))


def _bare(folder: Path, detector: str) -> Any:
    return _process("benchmarks.bare_bridge", "bare.serving", folder, DETECTOR_ADDRESS=detector)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# ---- Load ----------------------------------------------------------------------------------------


_Connected = Callable[[str, str], Any]


async def _saturate(
    connected: _Connected, address: str, protocol: str, images: list[bytes], seconds: float
) -> tuple[int, float]:
    """Keep frames under way; return how many were answered in how many seconds."""
    async with connected(address, protocol) as client:
        messages = [client.message(image) for image in images]
        await client.configure()
        sent = 0

        async def take_and_refill() -> None:
            nonlocal sent
            for _ in range(1 + await client.receive()):
                await client.send(messages[sent % len(messages)])
                sent += 1

        for _ in range(IN_FLIGHT):
            await client.send(messages[sent % len(messages)])
            sent += 1
        for _ in range(2 * IN_FLIGHT):  # warm
            await take_and_refill()
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            await take_and_refill()
            count += 1
        return count, took


async def _latency(
    connected: _Connected, address: str, protocol: str, images: list[bytes], seconds: float
) -> float:
    """Return the median time to an answer in ms, one frame at a time."""
    async with connected(address, protocol) as client:
        messages = [client.message(image) for image in images]
        times, ends = [], time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < ends or number < 10:
            began = time.perf_counter()
            await client.send(messages[number % len(messages)])
            await client.receive()
            times.append(time.perf_counter() - began)
            number += 1
        return 1000 * median(times[3:])


# ---- Measurements --------------------------------------------------------------------------------


async def _start(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds from the start of the process to its first answer over HTTP, and its memory then."""
    raw = []
    async with _fake(folder) as (_, detector):
        for _ in range(rounds):
            began = time.perf_counter()
            async with _bridge(folder, detector) as (process, address):
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(f"GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
                if b" 200 " not in (answer := await reader.readline()):
                    raise SystemExit(f"/openapi.json answers {answer!r}")
                seconds = time.perf_counter() - began
                raw.append({"seconds": seconds, "rss_mb": process.memory_info().rss / 1e6})
                writer.close()
    return {name: median(each[name] for each in raw) for name in raw[0]} | {"raw": raw}


async def _cpu(folder: Path, seconds: float) -> dict[str, float]:
    """Processor time of the bridge for a frame of 60 KB, with a detector that answers at once."""
    image = os.urandom(_FRAME_BYTES)
    figures = {}
    async with _fake(folder) as (_, detector), _bridge(folder, detector) as (process, address):
        for protocol in PROTOCOLS:
            before = _cpu_seconds(process)
            async with WebSocketClient.connected(address, protocol) as client:
                message = client.message(image)
                # One at a time: what a frame costs where nothing can be done for several at once.
                count, ends = 0, time.perf_counter() + seconds
                while time.perf_counter() < ends:
                    await client.send(message)
                    await client.receive()
                    count += 1
            figures[protocol] = 1000 * (_cpu_seconds(process) - before) / count
    return figures


async def _against_stream(
    folder: Path, images: list[bytes], rounds: int, seconds: float
) -> tuple[dict[str, float], dict[str, float], list[dict[str, Any]]]:
    """Frames a second and latency through the bridge, by those of the stream in the same round."""
    raw = []
    async with (
        _detector(folder) as (_, detector),
        _bridge(folder, detector) as (_, bridge),
        _bare(folder, detector) as (_, bare),
    ):
        contenders: dict[str, tuple[_Connected, str, str]] = {
            "stream": (StreamClient.connected, detector, "")
        }
        contenders |= {name: (WebSocketClient.connected, bridge, name) for name in PROTOCOLS}
        contenders["bare"] = (WebSocketClient.connected, bare, "protobuf")
        for number in range(rounds):
            figures: dict[str, Any] = {}
            # There and back again: what gets slower or faster meanwhile does so for all.
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                connected, address, protocol = contenders[name]
                count, took = await _saturate(connected, address, protocol, images, seconds)
                latency = await _latency(connected, address, protocol, images, seconds / 2)
                figures[name] = {"fps": count / took, "latency_ms": latency}
            raw.append(figures)
    through = [name for name in contenders if name != "stream"]
    ratios = {
        name: median(each[name]["fps"] / each["stream"]["fps"] for each in raw) for name in through
    }
    added = {
        name: median(each[name]["latency_ms"] - each["stream"]["latency_ms"] for each in raw)
        for name in through
    }
    return ratios, added, raw


async def _camera(address: str, message_of: bytes, seconds: float, counts: list[int]) -> None:
    """Send at a steady rate; count the answers."""
    async with WebSocketClient.connected(address, "json") as client:
        message = client.message(message_of)
        index = len(counts)
        counts.append(0)

        async def take() -> None:
            while True:
                await client.receive()
                counts[index] += 1

        taking = asyncio.create_task(take())
        began = time.perf_counter()
        for number in range(round(seconds * _RATE)):
            await asyncio.sleep(began + (number + index / 100) / _RATE - time.perf_counter())
            await client.send(message)
        await asyncio.sleep(1 / _RATE)
        taking.cancel()


async def _fairness(folder: Path, images: list[bytes], seconds: float) -> dict[str, Any]:
    """50 connections at 2 frames/s: the slowest by the mean; and the bridge's memory meanwhile."""
    counts: list[int] = []
    resident: list[float] = []
    async with _detector(folder) as (_, detector), _bridge(folder, detector) as (process, bridge):
        cameras = [
            asyncio.create_task(_camera(bridge, images[number % len(images)], seconds, counts))
            for number in range(_CONNECTIONS)
        ]
        while not all(camera.done() for camera in cameras):
            resident.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(min(seconds / 100, 1.0))
        await asyncio.gather(*cameras)
    early = resident[len(resident) * 15 // 100 : len(resident) * 25 // 100]
    late = resident[len(resident) * 9 // 10 :]
    return {
        "slowest_by_mean": min(counts) / (sum(counts) / len(counts)),
        "answered_share": sum(counts) / (_CONNECTIONS * round(seconds * _RATE)),
        "seconds": seconds,
        "rss_mib_early": sum(early) / len(early),
        "rss_mib_late": sum(late) / len(late),
        "growth": (sum(late) / len(late)) / (sum(early) / len(early)),
    }


async def _idle(folder: Path, count: int) -> dict[str, float]:
    """Resident memory of connections that do nothing."""
    async with (
        _fake(folder) as (_, detector),
        _bridge(folder, detector, MAX_CONCURRENT_CONNECTIONS=str(count + 10)) as (process, bridge),
    ):
        before = process.memory_info().rss
        open_connections = []
        for _ in range(count):
            connection = await connect(
                f"ws://{bridge}/ws", compression=None, ping_interval=None, proxy=None
            )
            await connection.recv()
            open_connections.append(connection)
        after = process.memory_info().rss
        for connection in open_connections:
            connection.transport.abort()
        return {
            "connections": count,
            "rss_mib_before": before / 2**20,
            "kb_per_connection": (after - before) / count / 1000,
        }


async def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    written = folder / "frames"
    written.mkdir()
    frames.write(written)
    images = frames.read(written)
    _say("start")
    start = await _start(folder, options.rounds)
    _say("processor time of a frame")
    cpu = await _cpu(folder, options.seconds)
    _say("beside the stream")
    ratios, added, raw = await _against_stream(folder, images, options.rounds, options.seconds)
    _say(f"{_CONNECTIONS} connections")
    fairness = await _fairness(folder, images, options.soak)
    _say(f"{options.idle} idle connections")
    idle = await _idle(folder, options.idle)
    return {
        "start": start,
        "cpu_ms_per_frame": cpu,
        "saturation": ratios,
        "added_latency_ms": added,
        "fairness": fairness,
        "idle": idle,
        "raw": raw,
    }


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of stream and bridge (default: 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="each measurement (default: 3)")
    parser.add_argument("--idle", type=int, default=1000, help="connections (default: 1000)")
    parser.add_argument(
        "--soak", type=float, default=20.0, help="seconds of 50 connections (default: 20)"
    )
    parser.add_argument("--out", type=Path, default=_RESULTS)
    options = parser.parse_args()
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="bridge-benchmark-") as name:
        results = asyncio.run(_measure(options, Path(name)))
    flat = {
        f"{group}.{name}": value
        for group in ("cpu_ms_per_frame", "saturation", "added_latency_ms")
        for name, value in results[group].items()
    } | {
        "start.seconds": results["start"]["seconds"],
        "start.rss_mb": results["start"]["rss_mb"],
        "fairness": results["fairness"]["slowest_by_mean"],
        "memory_growth": results["fairness"]["growth"],
        "idle_kb_per_connection": results["idle"]["kb_per_connection"],
    }
    for name, value in flat.items():
        print(f"{name:32} {value:8.3f}{_verdict(name, value)}")
    results |= {
        "date": began.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks.bridge", *sys.argv[1:]]),
        "machine": machine.describe(),
        "targets": {name: " ".join(map(str, target)) for name, target in _TARGETS.items()},
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print(f"written to {options.out}")
    return 0


def _verdict(name: str, value: float) -> str:
    if name not in _TARGETS:
        return ""
    relation, target = _TARGETS[name]
    reached = value <= target if relation == "<=" else value >= target
    return f"   target {relation} {target:g}: {'reached' if reached else 'missed'}"


def _say(what: str) -> None:
    print(f"[{datetime.now(UTC):%H:%M:%S}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
