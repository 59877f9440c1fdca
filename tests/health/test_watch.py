"""Health as others see it: the gRPC service and HTTP of a real server whose engine does as it is told."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import grpc
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from detector_service import engines
from detector_service.engines.batching import Batcher
from detector_service.errors import ModelError
from detector_service.health import probe, watch
from detector_service.health.judgement import Limits, State
from detector_service.health.watch import HealthWatch
from detector_service.rpc.frame_handler import Answer, Job
from detector_service.scheduling.workers import Workers
from detector_service.settings import load_settings
from tests.engines import gated
from tests.servers import Running, connected, serving, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", "crowd.detector.v1.DetectorService")
#: Seconds: so that a test waits for tenths of them.
QUICK: dict[str, Any] = {"health_interval": 0.1, "watchdog_timeout": 0, "admin_port": 0}


@pytest.fixture(autouse=True)
def _gated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine here does as it is told, and is looked at often."""
    monkeypatch.setitem(engines._REGISTRY, "openvino", gated.REGISTRATION)
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.02)


async def ready(running: Running) -> tuple[int, dict[str, Any]]:
    """Ask over HTTP; return the status and what is said."""
    url = f"http://127.0.0.1:{running.server.admin_port}/health/ready"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, json.loads(await answer.text())


@asynccontextmanager
async def watching(running: Running) -> AsyncIterator["asyncio.Queue[int]"]:
    """Watch health over gRPC: give the statuses as they come."""
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def read(channel: grpc.aio.Channel) -> None:
        request = health_pb2.HealthCheckRequest(service=NAMES[1])
        async for response in health_pb2_grpc.HealthStub(channel).Watch(request):
            seen.put_nowait(response.status)

    async with grpc.aio.insecure_channel(running.address) as channel:
        reading = asyncio.create_task(read(channel))
        try:
            yield seen
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def following(seen: "asyncio.Queue[int]") -> int:
    """Return the next status."""
    async with asyncio.timeout(60):
        return await seen.get()


async def test_readiness_begins_with_a_result() -> None:
    """While the models load it is not ready; then a first picture has gone all the way."""
    async with serving(load=False, **QUICK) as running:
        assert await ready(running) == (503, {"status": "loading"})
        await running.server.load()
        assert gated.faults.inferences == 2  # one warms the model up
        status, known = await ready(running)
    assert (status, known["status"]) == (200, "ready")
    assert known["seconds_since_result"] >= 0
    assert known["workers"]["count"] == running.server._workers.count  # type: ignore[union-attr] # it is loaded
    assert known["models"][0]["roles"] == ["body", "face"]


async def test_an_idle_service_looks_for_itself_and_counts_none_of_it() -> None:
    """It stays ready, and its statistics are those of clients alone."""
    async with (
        serving(**QUICK | {"health_interval": 0.5}) as running,
        watching(running) as seen,
    ):
        assert await following(seen) == SERVING
        inferences = gated.faults.inferences
        await until(lambda: gated.faults.inferences >= inferences + 6)  # after four it would show
        assert (await ready(running))[0] == 200
        async with connected(running.address) as stub:
            stats = await stub.GetStats(pb.GetStatsRequest())
        assert seen.empty()
    assert (stats.total_frames_processed, stats.frames_received) == (0, 0)
    assert not stats.errors
    assert not stats.drops


async def test_clients_results_are_proof_enough(photo: bytes) -> None:
    """While they come, the service looks at no picture of its own."""
    async with (
        serving(**QUICK | {"health_interval": 60}) as running,
        connected(running.address) as stub,
    ):
        before = gated.faults.inferences
        for _ in range(5):
            await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        assert gated.faults.inferences == before + 5
        _, known = await ready(running)
        assert known["seconds_since_result"] < 60


async def test_an_engine_that_always_fails_is_not_ready_until_it_recovers(photo: bytes) -> None:
    """As a GPU does after an error that stays; clients get their errors meanwhile."""
    async with (
        serving(**QUICK) as running,
        watching(running) as seen,
        connected(running.address) as stub,
    ):
        assert await following(seen) == SERVING
        gated.faults.fail_with = RuntimeError("CUDA error: an illegal memory access")
        assert await following(seen) == NOT_SERVING
        assert (await ready(running))[1]["status"] == "failing"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
        assert failed.value.code() == grpc.StatusCode.INTERNAL
        async with grpc.aio.insecure_channel(running.address) as channel:
            for name in NAMES:
                request = health_pb2.HealthCheckRequest(service=name)
                checked = await health_pb2_grpc.HealthStub(channel).Check(request)
                assert checked.status == NOT_SERVING
        gated.faults.fail_with = None
        assert await following(seen) == SERVING
        assert (await ready(running))[0] == 200


async def test_a_service_that_goes_on_failing_is_ended() -> None:
    """What does not go away in WATCHDOG_TIMEOUT may in a new process."""
    async with serving(**QUICK | {"watchdog_timeout": 0.5}) as running:
        with capture_logs() as lines:
            gated.faults.fail_with = RuntimeError("CUDA error: an illegal memory access")
            async with asyncio.timeout(60):
                await running.server.stuck.wait()
        assert (await ready(running))[1]["status"] == "stuck"
        gated.faults.fail_with = None
    events = [line["event"] for line in lines if line["event"] != "frame.failed"]
    assert events == ["health.not_ready", "health.given_up"]
    assert lines[-1]["seconds"] >= 0.9


async def test_bad_frames_alone_say_nothing_of_the_service() -> None:
    """A camera that sends no images has errors, and the service's own picture has results."""
    async with (
        serving(**QUICK | {"health_interval": 0.5}) as running,
        watching(running) as seen,
        connected(running.address) as stub,
    ):
        assert await following(seen) == SERVING
        inferences = gated.faults.inferences
        while gated.faults.inferences < inferences + 6:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=b"no image")))
        assert seen.empty()


async def test_an_overloaded_service_stays_ready(photo: bytes) -> None:
    """More comes on many streams than one worker can do, and is dropped."""

    async def flood(stub: Any) -> None:
        call = stub.StreamDetections()

        async def send() -> None:
            while True:
                await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))

        sending = asyncio.create_task(send())
        try:
            async for _ in call:
                pass
        finally:
            sending.cancel()

    async with (
        serving(**QUICK | {"workers": 1, "health_interval": 1.0}) as running,
        watching(running) as seen,
        connected(running.address) as stub,
    ):
        assert await following(seen) == SERVING
        floods = [asyncio.create_task(flood(stub)) for _ in range(10)]
        await until(lambda: running.server.stats.drops.total() > 200)
        assert (await ready(running))[0] == 200
        assert seen.empty()
        for each in floods:
            each.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


async def test_the_services_own_picture_waits_for_one_frame_of_each_stream(photo: bytes) -> None:
    """However many they have waiting."""
    async with serving(workers=1) as running, connected(running.address) as stub:
        gated.faults.close_gate()
        calls = [stub.StreamDetections() for _ in range(4)]
        for call in calls:
            await call.write(pb.StreamDetectionsRequest(config=pb.StreamConfig(buffer_frames=10)))
            for _ in range(10):
                await call.write(pb.StreamDetectionsRequest(frame=pb.Frame(encoded=photo)))
        await until(lambda: running.server.stats.received == 40)
        workers = running.server._workers
        assert workers is not None
        answered: list[int] = []
        probe.look(workers, lambda _: answered.append(running.server.stats.processed))
        gated.faults.open.set()
        await until(lambda: answered)
        for call in calls:
            call.cancel()
    assert answered[0] <= 10


async def test_a_stuck_worker_is_told_and_ends_the_service(photo: bytes) -> None:
    """One of several: the service is ready for as long as the others work, until WATCHDOG_TIMEOUT."""
    async with (
        serving(**QUICK | {"workers": 2, "watchdog_timeout": 1.0}) as running,
        watching(running) as seen,
        connected(running.address) as stub,
    ):
        assert await following(seen) == SERVING
        gated.faults.hold(1)
        stuck = asyncio.ensure_future(stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo))))
        async with asyncio.timeout(60):
            await running.server.stuck.wait()
        status, known = await ready(running)
        assert (status, known["status"], known["workers"]["stuck"]) == (503, "stuck", 1)
        assert await following(seen) == NOT_SERVING
        gated.faults.open.set()
        assert (await stuck).result.faces


async def test_a_stuck_worker_s_engine_is_told_of_too(photo: bytes) -> None:
    """Where engines have threads of their own, a worker's only says that it waits."""
    go_on = threading.Event()

    def synchronize(images: Sequence[int]) -> Sequence[int]:
        assert go_on.wait(60)
        return images

    with closing(Batcher(synchronize, 1)) as batcher, capture_logs() as logs:
        waiting = threading.Thread(target=batcher.wait, args=(batcher.submit(0, ""),))
        waiting.start()
        async with (
            serving(**QUICK | {"watchdog_timeout": 1.0}) as running,
            connected(running.address) as stub,
        ):
            gated.faults.hold(1)
            stuck = asyncio.ensure_future(
                stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
            )
            async with asyncio.timeout(60):
                await running.server.stuck.wait()
            gated.faults.open.set()
            await stuck
        go_on.set()
        waiting.join()
    (told,) = (log for log in logs if log["event"] == "worker.stuck")
    (where,) = (stack for stack in told["engines"].values() if "synchronize" in stack)
    assert "_serve (batching.py:" in where


async def test_a_first_picture_without_a_result_is_no_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The models warm up, and their first frame fails all the same."""

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("detector_service.pipeline.Pipeline.find", fail)
    async with serving(load=False, **QUICK) as running:
        with pytest.raises(ModelError, match="a first picture had no result: inference failed"):
            await running.server.load()
        assert (await ready(running))[1]["status"] == "loading"


async def test_a_drain_ends_readiness() -> None:
    """From its first moment on."""
    async with serving(**QUICK) as running:
        assert (await ready(running))[0] == 200
        running.server._watch.stop()
        assert (await ready(running))[1]["status"] == "stopping"


class Hanging:
    """Work that does not end before it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, job: Job, *, abandoned: Any) -> Answer:
        self.open.wait()
        return pb.FrameResult()


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looked_at = 0

    def __call__(self) -> float:
        self.looked_at += 1
        return self.now

    async def advance(self, seconds: float, health: HealthWatch) -> None:
        """Let time pass, and have it seen."""
        self.now += seconds
        before = self.looked_at
        await until(lambda: self.looked_at > before + 8 or health.stuck.is_set())


async def test_a_process_that_did_not_run_is_not_to_blame() -> None:
    """Stopped for an hour, it neither ends itself nor calls itself unwell when it goes on."""
    told: list[State] = []

    clock, work = Clock(), Hanging()
    health = HealthWatch(Limits(interval=0, watchdog=30), told.append, clock=clock)
    workers: Workers[Job, Answer] = Workers([work], saw=health.saw, clock=clock)
    running = asyncio.create_task(health.run())
    await health.prove(workers)
    health.begin()
    probe.look(workers, lambda _: None)
    await until(workers.in_work)
    await clock.advance(3600, health)
    for _ in range(28):
        await clock.advance(1, health)
        assert not health.stuck.is_set()
    for _ in range(2):  # and what it does run counts
        await clock.advance(1, health)
    assert health.stuck.is_set()
    work.open.set()
    await workers.close()
    await running
    assert told == [State.READY, State.STUCK]


async def test_a_service_that_goes_down_need_have_no_results() -> None:
    """It looks at no pictures any more, and streams may take long to let go of it."""
    clock = Clock()
    health = HealthWatch(Limits(interval=1, watchdog=1), lambda _: None, clock=clock)
    running = asyncio.create_task(health.run())
    health.begin()
    health.stop()
    for _ in range(20):
        await clock.advance(1, health)
    assert not health.stuck.is_set()
    running.cancel()


def test_the_picture_is_smaller_than_any_limit() -> None:
    """So no setting makes a service unwell that is not."""
    assert len(probe.picture()) < 1024
    least = load_settings(_env_file=None, max_image_pixels=4096, max_frame_bytes=1024)
    assert least.max_image_pixels > probe._WIDTH * probe._HEIGHT
