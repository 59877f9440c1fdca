"""The load generator: streams whose frames are due on a clock, and what comes back of them.

    python -m benchmarks.load FRAMES

One process, the same for every contender. It runs on the contender's machine, so what it costs the
contender lacks, and its clients are lean (see transports.py); its own processor time is given beside
the contender's.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from websockets.exceptions import WebSocketException

from benchmarks import ages, arrivals, frames, transports
from benchmarks.contender import Figures, obey

_LEAD_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 20.0
#: Calls under way at once of all streams together, where each frame is a call: enough to fill batches.
_MOST_CALLS: Final = 32
_MIB: Final = 1024 * 1024


class LoadGenerator:
    """Measures contenders from outside."""

    def __init__(self, folder: Path) -> None:
        self._images: Final = frames.read(folder)
        self._prepared: Final[dict[str, list[Any]]] = {}

    def measure(
        self,
        *,
        transport: str,
        address: str,
        pids: list[int],
        rates: list[float],
        seed: int,
        warm_up: float,
        seconds: float,
        samples: int = 2,
    ) -> Figures:
        """Send frames as they are due; return what came back, or why nothing did.

        What counts is what happens within the window: frames that are due in it, and answers that
        arrive in it, whenever their frames were due.

        Args:
            transport: how frames are sent.
            address: where to.
            pids: of the contender's processes; their children count as well.
            rates: of each stream, in frames a second.
            seed: of the moments at which streams begin.
            warm_up: seconds before the window.
            seconds: the window's.
            samples: how often in the window memory is looked at, at least twice.
        """
        if transport not in self._prepared:
            self._prepared[transport] = transports.messages(transport, self._images)
        window = _Window(arrivals.of_streams(rates, seed), warm_up, seconds)
        measuring = self._measure(transport, address, pids, window, samples)
        try:
            return asyncio.run(measuring)
        except (transports.TransportError, WebSocketException, OSError, TimeoutError) as error:
            return {"failed": f"{type(error).__name__}: {error}"[:1000]}

    async def _measure(
        self, transport: str, address: str, pids: list[int], window: "_Window", samples: int
    ) -> Figures:
        prepared = self._prepared[transport]
        count = len(window.streams)
        connections: list[transports.Connection] = []
        running: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                for number in range(count):  # each begins elsewhere: no two show the same at once
                    first = number * len(prepared) // count
                    calls = max(_MOST_CALLS // count, 1)
                    connections.append(
                        await transports.open_connection(transport, address, prepared, first, calls)
                    )
            window.open()
            for number, connection in enumerate(connections):
                running.append(asyncio.create_task(window.send(number, connection)))
                running.append(asyncio.create_task(window.receive(number, connection)))
            resident = []
            await _unless_ended(running, window.begin - time.perf_counter())
            cpu, own = cpu_seconds(pids), time.process_time()
            for number in range(samples):
                due = window.begin + (window.end - window.begin) * number / (samples - 1)
                await _unless_ended(running, due - time.perf_counter())
                if number == samples - 1:
                    cpu, own = cpu_seconds(pids) - cpu, time.process_time() - own
                resident.append(await asyncio.to_thread(resident_mib, pids))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.gather(*(connection.close() for connection in connections))
        return window.figures(cpu, own) | {"resident_mib": resident[-1], "resident": resident}


class _Window:
    """The time in which is counted, and the counts."""

    def __init__(
        self, streams: Sequence[arrivals.Arrivals], warm_up: float, seconds: float
    ) -> None:
        self.streams: Final = streams
        self._warm_up: Final = warm_up
        self._seconds: Final = seconds
        self._start = self.begin = self.end = 0.0
        self._ages: Final[list[list[float]]] = [[] for _ in streams]
        self._found = 0
        self._told_dropped = 0
        self._lags: Final[list[float]] = []

    def open(self) -> None:
        """Set the clock by which frames are due."""
        self._start = time.perf_counter() + _LEAD_SECONDS
        self.begin = self._start + self._warm_up
        self.end = self.begin + self._seconds

    async def send(self, number: int, connection: transports.Connection) -> None:
        """Send a stream's frames as they are due; those that find the connection blocked follow late."""
        index = 0
        while True:
            due = self._start + self.streams[number].due(index)
            wait = due - time.perf_counter()
            await asyncio.sleep(max(wait, 0))
            if (
                wait > 0
            ):  # not blocked: what is late now is this process, which must not be measured
                self._lags.append(time.perf_counter() - due)
            await connection.send()
            index += 1

    async def receive(self, number: int, connection: transports.Connection) -> None:
        """Count a stream's answers."""
        while True:
            answer = await connection.receive()
            now = time.perf_counter()
            if self.begin <= now < self.end:
                due = self._start + self.streams[number].due(answer.index)
                self._ages[number].append(now - due)
                self._found += answer.found
                self._told_dropped += answer.dropped

    def figures(self, cpu: float, own: float) -> Figures:
        """Return what was counted.

        Args:
            cpu: processor seconds of the contender.
            own: processor seconds of this process.
        """
        begin, end = self.begin - self._start, self.end - self._start
        offered = [stream.between(begin, end) for stream in self.streams]
        answered = [len(each) for each in self._ages]
        done = sum(answered)
        figures: Figures = {
            "offered_fps": sum(offered) / self._seconds,
            "fps": done / self._seconds,
            "unanswered_share": max(1 - done / max(sum(offered), 1), 0.0),
            "told_dropped": self._told_dropped,
            "answered_by_stream": answered,
            "generator_cpu_percent": 100 * own / self._seconds,
        }
        if self._lags:
            figures["generator_lag_p99_ms"] = 1000 * ages.percentile(sorted(self._lags), 0.99)
        figures |= ages.described([age for each in self._ages for age in each])
        if done:
            figures["cpu_ms_per_frame"] = 1000 * cpu / done
            figures["generator_cpu_ms_per_frame"] = 1000 * own / done
            figures["found_per_frame"] = self._found / done
        return figures


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time that processes and their descendants have taken so far."""
    total = 0.0
    for process in _tree(pids):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def resident_mib(pids: Sequence[int]) -> float:
    """Return the memory of processes and their descendants; what several share counts once."""
    total = 0
    for process in _tree(pids):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / _MIB


def _tree(pids: Sequence[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            root = psutil.Process(pid)
            found += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


async def _unless_ended(running: Sequence["asyncio.Task[None]"], seconds: float) -> None:
    """Let the streams go on for a while; what ends one of them is raised."""
    done, _ = await asyncio.wait(
        running, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED
    )
    for ended in done:
        try:
            ended.result()
        except (transports.TransportError, OSError):
            raise
        except Exception as error:  # of any of four libraries: the contender has gone
            raise transports.TransportError(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    obey({"measure": LoadGenerator(Path(sys.argv[1])).measure})
