"""A page that many ask for at once."""

import asyncio

import pytest

from telemetry import page as pages
from telemetry.page import Page


class Press:
    """Makes a page once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.made = 0
        self.fails = False

    async def make(self) -> bytes:
        self.made += 1
        await self.may.wait()
        if self.fails:
            raise OSError("no ink")
        return str(self.made).encode()


async def test_a_flood_costs_one_page() -> None:
    """Those that come while it is made, and in the second after it."""
    press = Press()
    page = Page(press.make)
    flood = [asyncio.create_task(page.text()) for _ in range(1000)]
    await asyncio.sleep(0)
    press.may.set()
    assert set(await asyncio.gather(*flood)) == {b"1"}
    assert await page.text() == b"1"


async def test_it_is_made_anew_once_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every scrape has figures of its own."""
    monkeypatch.setattr(pages, "FRESH_SECONDS", 0.0)
    press = Press()
    press.may.set()
    page = Page(press.make)
    assert [await page.text(), await page.text()] == [b"1", b"2"]


async def test_whoever_leaves_takes_nothing_from_the_others() -> None:
    """It is made to the end, once."""
    press = Press()
    page = Page(press.make)
    leaver, stayer = asyncio.create_task(page.text()), asyncio.create_task(page.text())
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    press.may.set()
    assert await stayer == b"1"


async def test_a_page_that_fails_fails_for_all_of_that_second_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one is made."""
    monkeypatch.setattr(pages, "FRESH_SECONDS", 0.0)
    press = Press()
    press.may.set()
    press.fails = True
    page = Page(press.make)
    with pytest.raises(OSError, match="no ink"):
        await page.text()
    press.fails = False
    assert await page.text() == b"2"
