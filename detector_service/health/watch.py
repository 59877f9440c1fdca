"""Follows whether frames get results, and tells who must know."""

import asyncio
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.engines import batching
from detector_service.errors import ModelError
from detector_service.health import probe
from detector_service.health.judgement import (
    Ages,
    Limits,
    State,
    Vitals,
    judge,
    probe_is_due,
    stuck_workers,
)
from detector_service.rpc.frame_handler import Answer, Job
from detector_service.scheduling.workers import Workers

_log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.25  # between two judgements
#: Seconds between two looks that count. Where there were more, the process did not run (it was stopped, or its machine
#: was), and nobody is to blame for what was not done meanwhile.
_MOST_SECONDS: Final = 1.25
_CALLS_SHOWN: Final = 12
_RESULT: Final = "result"
_PROBE: Final = "probe"


class HealthWatch:
    """The service's health from its start to its end; for the event loop's thread.

    Used in this order: `run` as a task, `prove` and `begin` once the models are loaded, `stop`.

    Attributes:
        stuck: set once only a new process helps, for good.
        told: the state that was told last; may be read from any thread.
    """

    def __init__(
        self,
        limits: Limits,
        tell: Callable[[State], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make it.

        Args:
            limits: how much is borne.
            tell: is called with each new state but the first, which is LOADING.
            clock: gives seconds; the workers' own.
        """
        self.stuck: Final = asyncio.Event()
        self._limits: Final = limits
        self._tell: Final = tell
        self._clock: Final = clock
        self._workers: Workers[Job, Answer] | None = None
        self._begun = False
        self._stopping = False
        self._last_result = -math.inf
        self._probed = -math.inf
        self._ages: Final = Ages(_MOST_SECONDS)
        self._in_work: dict[
            threading.Thread, float
        ] = {}  # how long each has been at its frame, as of the last look
        self.told = State.LOADING

    @property
    def state(self) -> State:
        """What the service is fit for at this moment."""
        if self._stopping:
            return State.STOPPING
        return judge(self._vitals(), self._limits) if self._begun else State.LOADING

    def saw(self, answer: Answer) -> None:
        """Learn of an answer that a worker gave, whomever it was for."""
        if isinstance(answer, pb.FrameResult):
            self._last_result = self._clock()

    async def prove(self, workers: Workers[Job, Answer]) -> None:
        """Have these workers look at a first picture, and watch them from here on.

        Raises:
            ModelError: they have no result for it.
        """
        self._workers = workers
        if not self._limits.interval:
            return
        answered: asyncio.Queue[Answer] = asyncio.Queue()
        probe.look(workers, answered.put_nowait)
        answer = await answered.get()
        if isinstance(answer, pb.FrameError):
            raise ModelError(f"a first picture had no result: {answer.message}")

    def begin(self) -> None:
        """Tell that the service is ready, now that it takes frames."""
        self._begun = True
        self._last_result = self._clock()
        self._tell_news()

    def stop(self) -> None:
        """Learn that the service goes down, and tell."""
        self._stopping = True
        self._tell_news()

    async def run(self) -> None:
        """Look again and again, until only a new process helps."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._tell_news()
            vitals = self._vitals()
            if judge(vitals, self._limits) is State.STUCK:
                self.stuck.set()
                self._log_end(vitals)
                return
            if self._workers is not None and probe_is_due(vitals, self._limits):
                self._probe(self._workers)

    def report(self) -> dict[str, Any]:
        """Return what is known, to be JSON."""
        known: dict[str, Any] = {"status": self.state}
        if self._workers is not None:
            vitals = self._vitals()
            if self._begun:
                known["seconds_since_result"] = round(vitals.since_result, 3)
            known["workers"] = {
                "count": self._workers.count,
                "busy": len(vitals.in_work),
                "stuck": stuck_workers(vitals, self._limits),
            }
        return known

    def _vitals(self) -> Vitals:
        now = self._clock()
        # Before it takes frames, and once it goes down, nobody waits for results.
        awaited = self._begun and not self._stopping
        threads = self._workers.in_work() if self._workers is not None else {}
        times: dict[Hashable, float] = dict(threads.items())
        times |= {_RESULT: self._last_result if awaited else now, _PROBE: self._probed}
        ages = self._ages.look(now, times)
        self._in_work = {thread: ages[thread] for thread in threads}
        return Vitals(ages[_RESULT], ages[_PROBE], list(self._in_work.values()))

    def _tell_news(self) -> None:
        state = self.state
        if state is self.told:
            return
        before, self.told = self.told, state
        if state is State.FAILING:
            seconds = self._vitals().since_result
            _log.error(
                "health.not_ready",
                seconds=round(seconds, 3),
                message=f"no frame has had a result for {seconds:.1f} s, nor has a picture of the service's own: each fails, "
                "and frame.failed says why, or the engine is stuck. Either ends the process after WATCHDOG_TIMEOUT",
            )
        elif before is State.FAILING and state is State.READY:
            _log.info("health.ready_again")
        self._tell(state)

    def _probe(self, workers: Workers[Job, Answer]) -> None:
        self._probed = math.inf  # until its answer is there, there is no other

        def done(_: Answer) -> None:
            self._probed = self._clock()

        probe.look(workers, done)

    def _log_end(self, vitals: Vitals) -> None:
        """Say why the process ends: which workers are stuck, and where in the code, or that none has results."""
        frames = sys._current_frames()  # noqa: SLF001 - the documented way to other threads' stacks
        # What a worker waits for where its engine runs batches.
        engines = {
            thread.name: _where(frames, thread)
            for thread in threading.enumerate()
            if thread.name.startswith(batching.THREADS)
        }
        stuck = {
            thread: seconds
            for thread, seconds in self._in_work.items()
            if seconds > self._limits.watchdog
        }
        for thread, seconds in stuck.items():
            _log.critical(
                "worker.stuck",
                worker=thread.name,
                seconds=round(seconds, 3),
                at=_where(frames, thread),
                engines=engines,
                message="a frame takes longer than WATCHDOG_TIMEOUT allows, so the process ends; raise that where frames "
                "may take so long, or else tell whoever made the engine where it is stuck",
            )
        if not stuck:
            _log.critical(
                "health.given_up",
                seconds=round(vitals.since_result, 3),
                message="no frame has had a result since the service is not ready, for as long as WATCHDOG_TIMEOUT, so the "
                "process ends; a new one begins without what led to that. frame.failed says what that was",
            )


def _where(frames: dict[int, FrameType], thread: threading.Thread) -> str:
    """Return where in the code a thread is: the innermost call first, and what called it."""
    frame = frames.get(thread.ident or 0)
    stack = [] if frame is None else traceback.extract_stack(frame)
    calls = [f"{each.name} ({Path(each.filename).name}:{each.lineno})" for each in reversed(stack)]
    return " < ".join(calls[:_CALLS_SHOWN])
