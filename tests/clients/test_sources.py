"""Where a stream's frames come from."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crowd_detector import Frame
from crowd_detector._sources import open_source


async def test_an_ordinary_iterable_is_read_in_a_thread_of_its_own(tmp_path: Path) -> None:
    """One frame at a time, and not before it is asked for."""
    (tmp_path / "c").write_bytes(b"c")
    asked: list[str] = []

    def images() -> Iterator[bytes | str | Frame]:
        for image in (b"a", Frame(b"b"), str(tmp_path / "c")):
            asked.append(threading.current_thread().name)
            yield image

    source = open_source(images())
    assert await anext(source) == Frame(b"a")
    assert asked == ["crowd-detector-frames"]
    assert [frame async for frame in source] == [Frame(b"b"), Frame(b"c")]
    await source.aclose()


async def test_an_asynchronous_iterable_stays_on_the_loop(tmp_path: Path) -> None:
    """But for the files that it names."""
    (tmp_path / "b").write_bytes(b"b")
    closed = False

    async def images() -> AsyncIterator[bytes | Path]:
        nonlocal closed
        try:
            assert threading.current_thread() is threading.main_thread()
            yield b"a"
            yield tmp_path / "b"
            yield b"c"
        finally:
            closed = True

    source = open_source(images())
    assert [await anext(source), await anext(source)] == [Frame(b"a"), Frame(b"b")]
    await source.aclose()
    assert closed


@pytest.mark.parametrize("wrong", [[7], 7, [None]])
async def test_what_is_no_picture_is_said(wrong: object) -> None:
    """By its type."""
    source = open_source(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"no picture|not iterable"):
        await anext(source)
    await source.aclose()


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """And the next one may be read."""
    (tmp_path / "there").write_bytes(b"there")
    source = open_source([str(tmp_path / "missing"), str(tmp_path / "there")])
    with pytest.raises(FileNotFoundError, match="missing"):
        await anext(source)
    assert await anext(source) == Frame(b"there")
    await source.aclose()


async def test_closing_does_not_wait_for_a_frame_that_does_not_come() -> None:
    """The thread leaves when the iterable lets it."""
    hanging = threading.Event()

    def images() -> Iterator[bytes]:
        hanging.wait()
        yield b"late"

    source = open_source(images())
    waiting = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    waiting.cancel()
    await source.aclose()
    hanging.set()


async def test_a_frame_is_not_kept_by_the_thread() -> None:
    """Once it was handed over: a picture can be large."""
    import gc
    import weakref

    class Context:
        pass

    def images() -> Iterator[Frame]:
        context = Context()
        alive.append(weakref.ref(context))
        yield Frame(b"a", context=context)
        del context
        yield Frame(b"b")

    alive: list[weakref.ref[Context]] = []
    source = open_source(images())
    frame = await anext(source)
    del frame
    await anext(source)
    gc.collect()
    assert alive[0]() is None
    await source.aclose()
