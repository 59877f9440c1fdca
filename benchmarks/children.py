"""The processes that are measured or that measure: started, asked, watched and ended here."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from benchmarks.contender import ANSWERS_TO, Figures

ROOT: Final = Path(__file__).resolve().parent.parent

_LOOK_SECONDS: Final = 0.2
_END_SECONDS: Final = 40.0  # the service's drain may take 30 s
_FAMILY_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 10.0
_IDLE_SHARE: Final = 0.15  # of one core; Ray is never quite idle
_REQUEST_SECONDS: Final = 2.0
_STDERR_LINES: Final = 25


class ChildFailedError(Exception):
    """A child ended before its time, or gave no answer in time; the text holds its last words."""


class Child:
    """One Python process, in a folder of its own where no file changes how it runs."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        relies_on: "Sequence[Child]" = (),
    ) -> None:
        """Start it.

        Args:
            folder: where it may write; its working directory.
            arguments: of the Python interpreter.
            environment: all of it, but for the path to this project.
            relies_on: other children that must live as long as it is asked things.
        """
        self._relies_on: Final = relies_on
        self.name: Final = " ".join(arguments[:2])
        self._family: list[psutil.Process] = []
        self._errors: Final = folder / f"stderr-{time.monotonic_ns()}.txt"
        tied = (sys.executable, "-m", "bridge.parent_death", str(os.getpid()))
        paths = (ROOT, ROOT / "clients" / "python", ROOT / "protos")
        answers, answers_to = os.pipe()
        self._answers: Final = os.fdopen(answers, "rb")
        try:
            with self._errors.open("wb") as errors:
                self.process: Final = subprocess.Popen(
                    # Tied to this one: should this process be killed, the kernel tells the child to end.
                    [*tied, sys.executable, *arguments],
                    cwd=folder,
                    env={
                        **environment,
                        "PYTHONPATH": os.pathsep.join(map(str, paths)),
                        ANSWERS_TO: str(answers_to),
                    },
                    stdin=subprocess.PIPE,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=(answers_to,),
                    start_new_session=True,  # a Ctrl-C is this process's to act on
                )
        finally:
            os.close(answers_to)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, order: str, limit: float, **how: Any) -> Figures:
        """Have an order carried out; give the answer.

        Args:
            order: its name.
            limit: seconds that it may take.
            how: the order's arguments.

        Raises:
            ChildFailedError: there is no answer.
        """
        assert self.process.stdin is not None
        self.check()
        try:
            self.process.stdin.write(json.dumps({"order": order, **how}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.process.wait(_END_SECONDS)
        ends = time.monotonic() + limit
        while not select.select([self._answers], [], [], _LOOK_SECONDS)[0]:
            self.check()
            if time.monotonic() > ends:
                raise ChildFailedError(
                    f"{self.name}: no answer to '{order}' within {limit:.0f} s\n{self._last_words()}"
                )
        line = self._answers.readline()
        if not line:
            self.process.wait(_END_SECONDS)
            self.check()
        figures: Figures = json.loads(line)
        return figures

    def wait_for(self, url: str, limit: float) -> None:
        """Wait until a URL of its answers with 200.

        Raises:
            ChildFailedError: it does not, or the child ended.
        """
        ends = time.monotonic() + limit
        while True:
            self.check()
            with contextlib.suppress(URLError, OSError), urlopen(url, timeout=_REQUEST_SECONDS):
                return
            if time.monotonic() > ends:
                raise ChildFailedError(
                    f"{self.name}: not ready within {limit:.0f} s\n{self._last_words()}"
                )
            time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """See that it lives, and so does what it relies on.

        Raises:
            ChildFailedError: one of them does not.
        """
        for child in self._relies_on:
            child.check()
        if (code := self.process.poll()) is not None:
            raise ChildFailedError(
                f"{self.name}: ended with exit code {code}\n{self._last_words()}"
            )

    def end(self) -> None:
        """End it in good order, or, where it does not obey, at once; what it has started as well."""
        family = self._descendants()
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()
        self._answers.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=_FAMILY_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_FAMILY_SECONDS)

    def settle(self) -> None:
        """Wait until it has done what it still had to do, a few seconds at most."""
        ends = time.monotonic() + _SETTLE_SECONDS
        before = self._busy_seconds()
        while time.monotonic() < ends:
            time.sleep(_LOOK_SECONDS)
            busy = self._busy_seconds()
            if busy - before < _IDLE_SHARE * _LOOK_SECONDS:
                return
            before = busy

    def _busy_seconds(self) -> float:
        total = 0.0
        for process in [psutil.Process(self.process.pid), *self._descendants()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _descendants(self) -> list[psutil.Process]:
        """Return those that it started and that live; also such as have lost their parent since."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
            self._family += [process for process in found if process not in self._family]
        self._family = [process for process in self._family if process.is_running()]
        return self._family

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self._errors.read_text("utf-8", "replace")

    def _last_words(self) -> str:
        lines = self.printed().splitlines()
        return "\n".join(f"  {line}" for line in lines[-_STDERR_LINES:])
