"""Starts processes, keeps them running, and leaves none behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from bridge import parent_death
from bridge.ready_socket import ReadySocket
from telemetry.readiness import VARIABLE, say_ready, say_stopping

_PAUSES: Final = (0.5, 30.0)  # seconds before a restart: the first and the longest
_STEADY_SECONDS: Final = 60.0  # a process that lived so long begins again with the first pause


@dataclass(frozen=True, slots=True)
class Command:
    """A process to be kept running.

    Attributes:
        name: for people.
        arguments: the command line.
        environment: what it has besides this process's own.
        descriptors: of files that it inherits.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: Sequence[int] = ()


class Supervisor:
    """Keeps groups of processes running until a signal comes, or one cannot be started at all.

    Every process tells when it serves (see `ready_socket`); this one does, once all do. One that ends before that, in its first life, takes all
    down: its code is the supervisor's. One that ends later is started again, after a pause that grows. SIGTERM and
    SIGINT are passed on, to the last group first; a second signal kills all, with what they have started. How they
    end where this process is killed is `parent_death`'s.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Command]],
        say: Callable[[str], None],
        ready: Callable[[], None],
    ) -> None:
        """Make it.

        Args:
            groups: started together, stopped one after the other from the last to the first.
            say: is told what happens, for people.
            ready: is called once, when all serve.
        """
        self._groups: Final = groups
        self._say: Final = say
        self._ready: Final = ready
        self._running: Final[dict[str, asyncio.subprocess.Process]] = {}  # by name
        self._waiting_for: Final = {command.name for group in groups for command in group}
        self._ends_with_parent: Final = parent_death.ends_with_parent()
        self._end: Final = asyncio.Event()
        self._signal = signal.SIGTERM
        self._signals = 0
        self._code = 0

    async def run(self) -> int:
        """Run them; return the exit code."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._on_signal, each)
        keepers = [
            [asyncio.create_task(self._keep(command)) for command in group]
            for group in self._groups
        ]
        all_keepers = [keeper for group in keepers for keeper in group]
        stopping = asyncio.create_task(self._end.wait())
        try:
            # A keeper ends by itself only where it failed: then this raises what it raised.
            await asyncio.wait({stopping, *all_keepers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end.set()
            say_stopping()
            for group, tasks in zip(reversed(self._groups), reversed(keepers), strict=True):
                for command in group:
                    self._end_process(command.name)
                await asyncio.gather(*tasks, return_exceptions=True)
            stopping.cancel()
        for keeper in all_keepers:
            keeper.result()
        return self._code

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        self._signal = number
        self._end.set()
        if self._signals > 1:
            self._code = 128 + number
            for name in self._running:
                self._end_process(name)

    def _end_process(self, name: str) -> None:
        """Pass the signal on to a process, or kill it and what it has started, where that was the second one."""
        process = self._running.get(name)
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if self._signals <= 1:
                os.kill(process.pid, self._signal)
                os.kill(process.pid, signal.SIGCONT)  # or a stopped one would never end
            elif self._ends_with_parent:
                os.kill(process.pid, signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)

    async def _keep(self, command: Command) -> None:
        """Run a process, again and again, until all is to end."""
        first_pause, longest_pause = _PAUSES
        pause, life = first_pause, 0
        while not self._end.is_set():
            life += 1
            began = time.monotonic()
            with ReadySocket() as socket:
                code, was_ready = await self._live(command, socket)
            if self._end.is_set():
                return
            if life == 1 and not was_ready:
                self._say(f"{command.name} ended with code {code} before it served; ending, too")
                self._code = code
                self._end.set()
                return
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = first_pause
            self._say(f"{command.name} ended with code {code}; it is started again in {pause:g} s")
            await self._unless_ending(pause)
            pause = min(2 * pause, longest_pause)

    async def _live(self, command: Command, socket: ReadySocket) -> tuple[int, bool]:
        """Run a process once; return its exit code, and whether it ever served."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge.parent_death",
            str(os.getpid()),
            *command.arguments,
            env={**os.environ, **command.environment, VARIABLE: socket.name},
            # So that a Ctrl-C in the terminal reaches this process alone, which passes it on; and what watches
            # processes itself can be killed with them, for they stay in its group.
            process_group=None if self._ends_with_parent else 0,
            pass_fds=tuple(command.descriptors),
        )
        self._running[command.name] = process
        if self._end.is_set():  # while it was being started
            self._end_process(command.name)
        ready = asyncio.create_task(socket.ready.wait())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if socket.ready.is_set():
                self._note_ready(command)
            code = await ended
            # As shells have it, where a signal ended it.
            return (code if code >= 0 else 128 - code), socket.ready.is_set()
        finally:
            del self._running[command.name]
            ready.cancel()

    def _note_ready(self, command: Command) -> None:
        if command.name in self._waiting_for:
            self._waiting_for.remove(command.name)
            if not self._waiting_for:
                self._ready()
                say_ready()

    async def _unless_ending(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._end.wait()
        except TimeoutError:
            pass
