"""Workers that ask each other for their pages."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge import sibling_pages
from bridge.sharing import new_page_sockets
from bridge.sibling_pages import SiblingPages
from tests.telemetry.pages import parsed, value


async def page(worker: int) -> bytes:
    """Return a worker's own page."""
    return f"# TYPE frames_total counter\nframes_total {10 ** (worker - 1)}\n".encode()


@asynccontextmanager
async def workers(count: int, *silent: int) -> AsyncIterator[list[SiblingPages]]:
    """Run so many, as if each were a process; some do not answer."""
    sockets = new_page_sockets(count)
    siblings = []
    for worker in range(1, count + 1):

        async def own(worker: int = worker) -> bytes:
            return await page(worker)

        # A process of its own has descriptors of its own.
        descriptors = [os.dup(each.fileno()) for each in sockets]
        siblings.append(SiblingPages(worker, descriptors, own))
        if worker not in silent:
            await siblings[-1].listen()
    try:
        yield siblings
    finally:
        for each in siblings:
            each.close()
        for socket in sockets:
            socket.close()


async def test_whoever_is_asked_tells_of_all() -> None:
    """A scrape reaches one of them, and it does not matter which."""
    async with workers(3) as siblings:
        for each in siblings:
            told = parsed((await each.page()).decode())
            assert [value(told, "frames_total", worker=worker) for worker in "123"] == [1, 10, 100]


async def test_one_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, or being started again."""
    monkeypatch.setattr(sibling_pages, "_PATIENCE", 0.2)
    async with workers(2, 2) as (first, second):
        async with asyncio.timeout(30):
            told = parsed((await first.page()).decode())
        assert value(told, "frames_total") == 1
        assert value(told, "crowd_detector_bridge_worker_up", worker="2") == 0
        await second.listen()  # as it is again
        told = parsed((await first.page()).decode())
        assert value(told, "frames_total") == 11


async def test_one_that_ends_while_it_answers_is_left_out() -> None:
    """Half a page would be half a number."""

    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await page(2)).removesuffix(b"0\n"))
        writer.close()

    async with (
        workers(2, 2) as (first, second),
        await asyncio.start_unix_server(break_off, sock=second._socket),
    ):
        told = parsed((await first.page()).decode())
    assert value(told, "frames_total") == 1
    assert value(told, "crowd_detector_bridge_worker_up", worker="2") == 0


async def test_other_users_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names have no permissions, so each asks who is there."""
    monkeypatch.setattr(sibling_pages, "_user_of", lambda _: 65534)
    async with workers(2) as (first, _):
        told = parsed((await first.page()).decode())
    assert value(told, "frames_total") == 1
