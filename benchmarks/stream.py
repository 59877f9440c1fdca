"""The client of contender "stream": it keeps a service busy, and counts what comes back.

    python -m benchmarks.stream ADDRESS SERVICE_PID FRAMES

It runs on the machine of the service, so what it costs the service lacks: requests are serialised
before anything is measured, and it is asyncio, which took a tenth less processor time for a frame
than gRPC's threads did.
"""

import asyncio
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import psutil
from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import AsyncDetectorClient

from benchmarks import frames
from benchmarks.contender import Figures, obey

_Channel: TypeAlias = grpc.aio.Channel

_METHOD: Final = "/crowd.detector.v1.DetectorService/StreamDetections"
_READY_SECONDS: Final = 60.0
_MOST_BUFFERED: Final = 32
_MIB: Final = 1024 * 1024


class LoadClient:
    """Measures one service, from outside."""

    def __init__(self, address: str, service_pid: int, folder: Path) -> None:
        self._address: Final = address
        self._service: Final = psutil.Process(service_pid)
        self._requests: Final = [
            pb.StreamDetectionsRequest(
                frame=pb.Frame(frame_id=str(number), camera="benchmark", encoded=data)
            ).SerializeToString()
            for number, data in enumerate(frames.read(folder))
        ]

    def wait(self) -> Figures:
        """Wait until the service is ready; say what it serves with."""
        return asyncio.run(self._wait())

    def measure(
        self, streams: int, in_flight: int, rate: float, warm_up: float, seconds: float
    ) -> Figures:
        """Return what comes back from a service that is kept busy for so many seconds.

        Args:
            streams: open at once.
            in_flight: frames of each that are under way at most.
            rate: of each, in frames a second; 0 for as many as are answered.
            warm_up: seconds before those that count.
            seconds: that count.
        """
        return asyncio.run(self._measure(streams, in_flight, rate, warm_up, seconds))

    def soak(self, total: int, in_flight: int, samples: int) -> Figures:
        """Have so many frames answered on one stream; give the service's memory on the way.

        Args:
            total: frames.
            in_flight: frames that are under way at most.
            samples: how often memory is looked at, evenly over the frames.
        """
        return asyncio.run(self._soak(total, in_flight, samples))

    async def _wait(self) -> Figures:
        async with AsyncDetectorClient(self._address) as client:
            await client.wait_until_ready(_READY_SECONDS)
            face = (await client.models()).face
        return {"precision": face.precision, "embedded": face.embedded}

    async def _measure(
        self, streams: int, in_flight: int, rate: float, warm_up: float, seconds: float
    ) -> Figures:
        async with self._channel() as channel, AsyncDetectorClient(self._address) as asking:
            # Each stream begins elsewhere, so that no two show the same frame at once.
            calls = [
                _Stream(channel, self._requests, number * len(self._requests) // streams)
                for number in range(streams)
            ]
            runs = [asyncio.create_task(call.run(in_flight, rate)) for call in calls]
            ahead = asyncio.gather(*runs)
            await _unless_ended(ahead, warm_up)
            for call in calls:
                call.begin_to_count()
            began, cpu, own = time.perf_counter(), self._cpu_seconds(), time.process_time()
            await _unless_ended(ahead, seconds)
            latencies = sorted(latency for call in calls for latency in call.stop_counting())
            took = time.perf_counter() - began
            cpu, own = self._cpu_seconds() - cpu, time.process_time() - own
            lag = (await asking.stats()).event_loop_lag_p99
            for call in calls:
                call.stop()
            await ahead
        done = len(latencies)
        if not done:
            raise SystemExit(f"no frame was answered within {seconds:g} s")
        return {
            "frames": done,
            "fps": done / took,
            "latency_p50_ms": 1000 * latencies[done // 2],
            "latency_p99_ms": 1000 * latencies[done * 99 // 100],
            "drops": sum(call.dropped for call in calls),
            "cpu_ms_per_frame": 1000 * cpu / done,
            "client_cpu_ms_per_frame": 1000 * own / done,
            "detections_per_frame": sum(call.found for call in calls)
            / sum(call.answered for call in calls),
            "rss_mib": self._service.memory_info().rss / _MIB,
            "event_loop_lag_p99_last_minute_ms": 1000 * lag,
        }

    async def _soak(self, total: int, in_flight: int, samples: int) -> Figures:
        resident: list[float] = []
        due = [total * number // samples for number in range(1, samples + 1)]
        began = time.perf_counter()
        async with self._channel() as channel, AsyncDetectorClient(self._address) as asking:
            call = _Stream(channel, self._requests, 0)

            def look(answered: int) -> None:
                if len(resident) < samples and answered >= due[len(resident)]:
                    resident.append(self._service.memory_info().rss / _MIB)
                if answered >= total:
                    call.stop()

            await call.run(in_flight, 0.0, look)
            stats = await asking.stats()
        return {
            "frames": call.answered,
            "seconds": time.perf_counter() - began,
            "drops": call.dropped,
            "rss_mib": resident,
            "peak_rss_mib": _peak_mib(self._service.pid),
            "event_loop_lag_p99_ms": 1000 * stats.event_loop_lag_p99,
        }

    def _channel(self) -> _Channel:
        return grpc.aio.insecure_channel(self._address)

    def _cpu_seconds(self) -> float:
        times = self._service.cpu_times()
        return float(times.user + times.system)


class _Stream:
    """One StreamDetections call; frames and answers are told apart by the service's sequence numbers."""

    def __init__(self, channel: _Channel, requests: list[bytes], first: int) -> None:
        self.answered = 0
        self.dropped = 0
        self.found = 0
        self._requests: Final = requests
        self._first: Final = first
        self._call: Final[Any] = channel.stream_stream(
            _METHOD, response_deserializer=pb.StreamDetectionsResponse.FromString
        )()
        self._sent = 0
        self._sent_at: Final[dict[int, float]] = {}
        self._latencies: list[float] = []
        self._counting = False
        self._stopped = False

    def begin_to_count(self) -> None:
        """Remember how long answers take from here on."""
        self._counting = True

    def stop_counting(self) -> list[float]:
        """Return how long the answers took since `begin_to_count`, in seconds."""
        self._counting = False
        return self._latencies

    def stop(self) -> None:
        """Send no more; `run` ends once all that was sent is answered."""
        self._stopped = True

    async def run(
        self, in_flight: int, rate: float, on_answer: Any = lambda _answered: None
    ) -> None:
        """Send and read until `stop`.

        Args:
            in_flight: frames that are under way at most.
            rate: in frames a second; 0 for as many as are answered.
            on_answer: called with the number of answers so far.
        """
        config = pb.StreamConfig(buffer_frames=min(in_flight, _MOST_BUFFERED))
        await self._call.write(pb.StreamDetectionsRequest(config=config).SerializeToString())
        pacing = asyncio.create_task(self._pace(rate)) if rate else None
        if pacing is None:
            await self._fill(in_flight)
        half_closed = False
        while (response := await self._call.read()) is not grpc.aio.EOF:
            if not self._take(response):
                continue
            on_answer(self.answered)
            if pacing is not None or half_closed:
                continue
            if self._stopped:
                half_closed = True
                await self._call.done_writing()
            else:
                await self._fill(in_flight)
        if not self._stopped:
            raise SystemExit("the service closed the stream before its client did")
        if pacing is not None:
            await pacing

    async def _fill(self, in_flight: int) -> None:
        while not self._stopped and self._sent - self.answered - self.dropped < in_flight:
            await self._send()

    async def _pace(self, rate: float) -> None:
        began = time.perf_counter()
        for number in count():
            await asyncio.sleep(began + number / rate - time.perf_counter())
            if self._stopped:
                await self._call.done_writing()
                return
            await self._send()

    async def _send(self) -> None:
        data = self._requests[(self._first + self._sent) % len(self._requests)]
        self._sent += 1
        self._sent_at[self._sent] = time.perf_counter()
        await self._call.write(data)

    def _take(self, response: Any) -> bool:
        """Count an answer; say whether it was a frame's result."""
        self.dropped += sum(drop.count for drop in response.drops)
        if response.HasField("error"):
            raise SystemExit(f"a frame was refused: {response.error.message}")
        if not response.HasField("result"):
            return False
        result = response.result
        taken = time.perf_counter() - self._sent_at.pop(result.frame.sequence)
        if self._counting:
            self._latencies.append(taken)
        self.answered += 1
        self.found += result.crowd.face_count + result.crowd.body_count
        return True


async def _unless_ended(ahead: "asyncio.Future[Any]", seconds: float) -> None:
    """Let the streams go on for a while; what ends one of them is raised."""
    done, _ = await asyncio.wait({ahead}, timeout=seconds)
    for ended in done:
        ended.result()


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    contender = LoadClient(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    obey({"wait": contender.wait, "measure": contender.measure, "soak": contender.soak})
