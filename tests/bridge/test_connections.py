"""Slots over several processes: never more than there are, and none lost with a process that was killed."""

import asyncio
import os
import sys

from hypothesis import given
from hypothesis import strategies as st

from bridge.connections import Slots, new_slots_file
from tests.servers import ROOT

HOLD = """
import sys
from bridge.connections import Slots
slots = Slots(int(sys.argv[1]), int(sys.argv[2]), per_address=int(sys.argv[3]))
for line in sys.stdin:
    verb, _, word = line.strip().partition(" ")
    match verb:
        case "take": answer = slots.take(word)
        case "back": answer = slots.give_back(int(word))
        case "taken": answer = slots.taken()
        case "full": answer = slots.address_is_full(word)
    print(answer, flush=True)
"""


class Holder:
    """Another process with slots of the same file."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, file: int, count: int, per_address: int = 0) -> "Holder":
        """Start it."""
        arguments = [str(each) for each in (file, count, per_address)]
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                HOLD,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=(file,),
                env={"PYTHONPATH": str(ROOT)},
            )
        )

    async def ask(self, order: str) -> str:
        """Have it do something; return what it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order.encode() + b"\n")
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        await self.process.wait()


async def test_slots_are_shared_and_come_back() -> None:
    """Whether they are given back, or their process is killed."""
    file = new_slots_file()
    mine = Slots(file, 4)
    other, third = await Holder.start(file, 4), await Holder.start(file, 4)
    assert mine.take("a") == 0
    assert await other.ask("take b") == "1"
    assert await third.ask("take c") == "2"
    assert await other.ask("take b") == "3"
    assert mine.take("a") is None
    assert await third.ask("take c") == "None"
    assert mine.taken() == 4
    assert await other.ask("taken") == "4"
    await other.kill()
    assert mine.taken() == 2
    assert await third.ask("taken") == "2"
    assert mine.take("a") == 1
    assert await third.ask("back 2") == "None"
    assert mine.taken() == 2
    await third.kill()
    os.close(file)


async def test_an_address_is_counted_over_all_processes() -> None:
    """But not with what a killed process held."""
    file = new_slots_file()
    mine = Slots(file, 10, per_address=2)
    other = await Holder.start(file, 10, 2)
    assert mine.take("a") is not None
    assert await other.ask("take a") == "1"
    assert mine.address_is_full("a")
    assert not mine.address_is_full("b")
    assert await other.ask("full a") == "True"
    await other.kill()
    assert not mine.address_is_full("a")
    os.close(file)


@given(st.lists(st.integers(-5, 5)), st.integers(1, 6))
def test_one_process_on_its_own(orders: list[int], count: int) -> None:
    """Takes and gives back as it likes; never more than there are."""
    file = new_slots_file()
    slots, held = Slots(file, count, per_address=1), list[int]()
    for order in orders:
        if order >= 0:
            slot = slots.take(str(order))
            assert (slot is None) == (len(held) == count)
            if slot is not None:
                assert slot not in held
                held.append(slot)
                assert slots.address_is_full(str(order))
        elif held:
            slots.give_back(held.pop(order % len(held)))
        assert slots.taken() == len(held)
    os.close(file)
