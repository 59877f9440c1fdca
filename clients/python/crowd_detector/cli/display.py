"""What moves on a terminal: a progress bar with rate and time left, and the chart of counts."""

import os
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from crowd_detector.cli.chart import chart
from crowd_detector.cli.tables import level_text
from crowd_detector.errors import FrameError
from crowd_detector.results import Result

_REFRESH_SECONDS: Final = 0.1
_CHART_SECONDS: Final = 120.0
_CHART_POINTS: Final = 7200  # at most: 60 a second
_CHART_HEIGHT: Final = 14


class Display:
    """The last lines of a terminal; nothing where there is none.

    Whoever reports draws it, ten times a second at most; it needs no thread of its own.
    """

    def __init__(
        self,
        console: Console,
        *,
        active: bool,
        unit: str,
        total: float | None,
        watch: bool = False,
    ) -> None:
        """Prepare it.

        Args:
            console: of the standard error.
            active: whether anything is drawn.
            unit: what is counted: "images", "frames".
            total: where `report` will have come to at the end; None where nobody knows.
            watch: whether the chart is drawn too.
        """
        known: list[ProgressColumn] = [
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("left", style="progress.remaining"),
        ]
        self._progress: Final = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *(known if total else [TimeElapsedColumn()]),
            console=console,
            auto_refresh=False,
        )
        self._unit: Final = unit
        self._task: Final = self._progress.add_task(unit, total=total)
        self._live: Final = Live(console=console, auto_refresh=False, transient=not watch)
        self._console: Final = console
        self._active: Final = active
        self._watch: Final = watch
        self._points: Final[deque[tuple[float, float]]] = deque(maxlen=_CHART_POINTS)
        self._latest: Result | None = None
        self._count = 0
        self._position = 0.0
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        if self._active:
            self._fit()
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            self._draw()
            self._live.stop()

    def report(self, answer: Result | FrameError, position: float) -> None:
        """Take one more answer; position is how far it is towards the total."""
        self._count += 1
        if not self._active:
            return
        if isinstance(answer, Result):
            self._latest = answer
            self._points.append((position, answer.crowd.total_people))
            while self._points[-1][0] - self._points[0][0] > _CHART_SECONDS:
                self._points.popleft()
        self._position = position
        if time.monotonic() - self._drawn >= _REFRESH_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._fit()
        rate = self._count / max(self._drawn - self._began, _REFRESH_SECONDS)
        self._progress.update(
            self._task,
            completed=self._position,
            description=f"{self._count:,} {self._unit}  {rate:.1f}/s",
        )
        self._live.update(self._picture(), refresh=True)

    def _fit(self) -> None:
        """Use the terminal's size as it is now; rich would ask the standard input for it."""
        with suppress(OSError):
            width, height = os.get_terminal_size(self._console.file.fileno())
            if width and height:
                self._console.size = ConsoleDimensions(width, height)

    def _picture(self) -> RenderableType:
        if not self._watch:
            return self._progress
        heading = Text("people  ", style="bold")
        if self._latest is not None:
            crowd = self._latest.crowd
            heading.append(f"{crowd.total_people} now  ")
            heading.append_text(level_text(crowd.level))
        lines = chart(
            self._points, self._console.width, min(_CHART_HEIGHT, self._console.height - 3)
        )
        drawn = Text("\n".join(lines), style="cyan", no_wrap=True, overflow="crop")
        return Group(heading, drawn, self._progress)
