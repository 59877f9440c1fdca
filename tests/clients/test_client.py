"""The client for callers without an event loop, against a service in a process of its own."""

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crowd_detector import (
    AsyncDetectorClient,
    AsyncStream,
    DetectorClient,
    DetectorError,
    Frame,
    FrameError,
    Result,
    Stream,
    UnavailableError,
)

from tests.clients.faults import proxied
from tests.servers import service_process, serving, until


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with serving(workers=2) as running:
        yield running.address


async def test_it_does_what_the_other_does(address: str, photo: bytes) -> None:
    """The same surface, without await."""

    def use() -> None:
        with DetectorClient(address) as client:
            client.wait_until_ready()
            assert client.health()
            found = client.detect(photo)
            assert found.crowd.face_count >= 1
            first, second = client.detect_batch([photo, b"bad"])
            assert isinstance(first, Result)
            assert isinstance(second, FrameError)
            assert client.models().body.counted_classes == ("person",)
            assert client.stats().total_frames_processed == 2
            stream = client.stream(Frame(photo, frame_id=str(number)) for number in range(5))
            assert [answer.frame_id for answer in stream] == ["0", "1", "2", "3", "4"]
            assert stream.summary.results == 5

    await asyncio.to_thread(use)


@pytest.mark.parametrize(
    ("sync", "other"), [(DetectorClient, AsyncDetectorClient), (Stream, AsyncStream)]
)
def test_the_two_surfaces_are_one(sync: type, other: type) -> None:
    """The same names, the same arguments, the same defaults."""

    def surface(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {
            name.replace("aclose", "close"): [
                (each.name, each.kind, each.default)
                for each in inspect.signature(function).parameters.values()
            ]
            for name, function in members
            if not name.startswith("_")
            or (name == "__init__" and kind in {DetectorClient, AsyncDetectorClient})
        }

    assert surface(sync) == surface(other)


async def test_no_thread_is_left(address: str, photo: bytes) -> None:
    """Nor is one made before it is needed."""

    def own() -> list[str]:
        return [each.name for each in threading.enumerate() if "crowd-detector" in each.name]

    def camera() -> Iterator[bytes]:
        while True:
            yield photo

    def use() -> None:
        client = DetectorClient(address)
        client.close()
        assert not own()
        with DetectorClient(address) as client:
            assert not own()
            with client.stream(camera()) as stream:
                next(stream)
                assert sorted(own()) == ["crowd-detector", "crowd-detector-frames"]
            unclosed = client.stream(camera())
            next(unclosed)

    await asyncio.to_thread(use)
    await until(lambda: not own())


async def test_several_threads_may_share_one(address: str, photo: bytes) -> None:
    """Each gets its own answers."""

    def use(client: DetectorClient, name: str) -> set[str]:
        frames = [Frame(photo, camera=name) for _ in range(5)]
        return {answer.camera for answer in client.stream(frames)}

    with DetectorClient(address) as client:
        names = ["a", "b", "c", "d"]
        seen = await asyncio.gather(*(asyncio.to_thread(use, client, name) for name in names))
    assert seen == [{name} for name in names]


async def test_what_goes_wrong_is_raised_in_the_callers_thread(address: str, photo: bytes) -> None:
    """A refusal, a source that breaks, a client that is closed."""

    def camera() -> Iterator[bytes]:
        yield photo
        raise OSError("unplugged")

    def use() -> None:
        with DetectorClient(address) as client:
            stream = client.stream(camera())
            assert isinstance(next(stream), Result)
            with pytest.raises(OSError, match="unplugged"):
                next(stream)
            with pytest.raises(StopIteration):
                next(stream)
        with pytest.raises(RuntimeError, match="closed"):
            client.health()
        client.close()
        with DetectorClient("127.0.0.1:1") as nobody, pytest.raises(UnavailableError):
            nobody.detect(photo)

    await asyncio.to_thread(use)


async def test_a_callback_cannot_wait_for_its_own_thread(address: str, photo: bytes) -> None:
    """It would wait for ever; so it is told."""
    told: list[Exception] = []

    def lost(error: DetectorError, delay: float) -> None:
        try:
            client.health()
        except RuntimeError as impossible:
            told.append(impossible)

    async with proxied(address) as proxy:
        client = DetectorClient(proxy.address)

        def use() -> None:
            with client, client.stream([photo] * 30, on_reconnect=lost) as stream:
                next(stream)
                loop.call_soon_threadsafe(proxy.cut)
                assert len(list(stream)) == 29

        loop = asyncio.get_running_loop()
        await asyncio.to_thread(use)
    assert "wait for itself" in str(told[0])


async def test_a_service_that_is_killed_and_started_again(photo: bytes) -> None:
    """Its streams go on at the new one, and no frame is lost."""
    frames = 200

    def use(address: str) -> list[str]:
        names = []
        with DetectorClient(address) as client:
            source = (Frame(photo, frame_id=str(number)) for number in range(frames))
            with client.stream(source) as stream:
                for answer in stream:
                    names.append(answer.frame_id)
                    if len(names) == 20:
                        loop.call_soon_threadsafe(kill.set)
        return names

    loop, kill = asyncio.get_running_loop(), asyncio.Event()
    async with service_process() as first:
        await first.serves()
        using = asyncio.create_task(asyncio.to_thread(use, first.address))
        await kill.wait()
        first.process.kill()
        await first.process.wait()
        async with service_process(GRPC_PORT=first.address.rpartition(":")[2]) as second:
            assert await using == [str(number) for number in range(frames)]
            second.process.terminate()
            assert await second.ended() == 0


async def test_closing_does_not_wait_for_a_file_that_gives_nothing(tmp_path: Path) -> None:
    """And whoever waited for it is told that the client was closed."""
    os.mkfifo(tmp_path / "pipe")
    client = DetectorClient("127.0.0.1:1")
    reading = asyncio.create_task(asyncio.to_thread(client.detect, tmp_path / "pipe"))
    writer = await asyncio.to_thread(os.open, tmp_path / "pipe", os.O_WRONLY)  # once it is read
    await asyncio.to_thread(client.close)
    with pytest.raises(RuntimeError, match="was closed"):
        await reading
    os.close(writer)


async def test_a_stream_outlives_its_client_as_something_closed(address: str, photo: bytes) -> None:
    """It ends, it closes, and neither is an error."""

    def use() -> None:
        client = DetectorClient(address)
        with client.stream([photo] * 100) as stream:
            next(stream)
            client.close()
            stream.configure(max_frame_rate=1)
            assert list(stream) == []

    await asyncio.to_thread(use)


async def test_many_threads_may_close_at_once(address: str) -> None:
    """All of them return."""
    for _ in range(20):
        client = DetectorClient(address)
        await asyncio.gather(
            asyncio.to_thread(_health_or_closed, client),
            *(asyncio.to_thread(client.close) for _ in range(4)),
        )
        assert client._portal._thread is None or not client._portal._thread.is_alive()


def _health_or_closed(client: DetectorClient) -> None:
    try:
        assert client.health()
    except RuntimeError as closed:
        assert "closed" in str(closed)
