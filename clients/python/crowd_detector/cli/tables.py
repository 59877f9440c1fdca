"""What people read: tables of results, models and statistics."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from crowd_detector.cli.printable import printable
from crowd_detector.errors import FrameError
from crowd_detector.results import CrowdLevel, Model, Models, Result, Stats, StreamSummary

_STYLES: Final = {
    CrowdLevel.EMPTY: "dim",
    CrowdLevel.LOW: "green",
    CrowdLevel.MEDIUM: "yellow",
    CrowdLevel.HIGH: "dark_orange",
    CrowdLevel.VERY_HIGH: "bold red",
    CrowdLevel.UNKNOWN: "dim",
}

_IMAGE_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    ("image", "left"),
    ("people", "right"),
    ("faces", "right"),
    ("bodies", "right"),
    ("level", "left"),
    ("density", "right"),
    ("ms", "right"),
)
_ROOMY: Final = 60  # characters


def level_text(level: CrowdLevel) -> Text:
    """Return a level in words and in its colour."""
    return Text(level.value.replace("_", " "), style=_STYLES[level])


class ImagesTable:
    """A row for each image, and below a line for each that could not be answered.

    It holds what is written alone: an answer holds its image.
    """

    def __init__(self) -> None:
        self._rows: Final[list[tuple[RenderableType, ...]]] = []
        self._refused: Final[list[Text]] = []

    def add(self, name: str, answer: Result | FrameError) -> None:
        """Take one more answer."""
        if isinstance(answer, FrameError):
            self._refused.append(Text(printable(f"{name}: {answer}"), style="red"))
            return
        crowd = answer.crowd
        cells = (
            Text(printable(name)),
            str(crowd.total_people),
            str(crowd.face_count),
            str(crowd.body_count),
            level_text(crowd.level),
            f"{crowd.density_score:.2f}",
            f"{answer.processing_time * 1000:.0f}",
        )
        self._rows.append(cells)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Give what is drawn: where there is little room, without the last columns."""
        columns = _IMAGE_COLUMNS if options.max_width >= _ROOMY else _IMAGE_COLUMNS[:-2]
        table = bare_table()
        for name, justify in columns:
            table.add_column(name, justify=justify, overflow="fold")
        for row in self._rows:
            table.add_row(*row[: len(columns)])
        if self._rows:
            yield table
        yield from self._refused

    def __bool__(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self._rows or self._refused)


def models_table(models: Models) -> Table:
    """Return what serves for faces and what for bodies."""
    table = bare_table("", "faces", "bodies")
    for name, face, body in zip(
        _MODEL_ROWS, _model_cells(models.face), _model_cells(models.body), strict=True
    ):
        table.add_row(name, face, body)
    return table


def stats_table(stats: Stats) -> Table:
    """Return what the service has done."""
    stages = stats.average_stage_times
    rows = {
        "up for": duration(stats.uptime),
        "frames answered": f"{stats.total_frames_processed:,}",
        "frames received": f"{stats.frames_received:,}",
        "frames dropped": _counts(stats.dropped),
        "frames refused or failed": _counts(stats.errors),
        "frames abandoned": f"{stats.frames_abandoned:,}",
        "frames waiting now": f"{stats.queued_frames:,}",
        "streams open now": f"{stats.active_streams:,}",
        "mean time of a frame": _milliseconds(stats.average_processing_time),
        "  waiting": _milliseconds(stages.queued),
        "  decoding": _milliseconds(stages.decode),
        "  model": _milliseconds(stages.inference),
        "  the rest": _milliseconds(stages.post_processing),
        "memory": f"{stats.resident_memory_bytes / 2**20:,.0f} MiB",
        "event loop late by (p99)": _milliseconds(stats.event_loop_lag_p99),
    }
    table = bare_table()
    table.add_column()
    table.add_column(justify="right")
    table.show_header = False
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def summary_sentence(summary: StreamSummary, seconds: float) -> str:
    """Return what became of a stream, in one line."""
    answered = summary.results + summary.errors
    parts = [f"{answered:,} of {summary.frames:,} frames answered in {duration(seconds)}"]
    if seconds > 0:
        parts[0] += f" ({answered / seconds:.1f} a second)"
    if summary.errors:
        parts.append(f"{summary.errors:,} could not be")
    if summary.dropped:
        parts.append(f"dropped: {_counts(summary.dropped)}")
    if summary.reconnections:
        parts.append(f"reconnected {summary.reconnections} times")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it needs."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_MODEL_ROWS: Final = (
    "file",
    "loaded",
    "device",
    "engine",
    "precision",
    "input",
    "counted",
    "SHA-256",
)


def _model_cells(model: Model) -> tuple[str, ...]:
    return (
        "ships with the service" if model.embedded else model.path,
        "yes" if model.loaded else "no",
        model.device,
        f"{model.engine} ({model.format})",
        model.precision,
        f"{model.input_size} pixels",
        ", ".join(model.counted_classes),
        model.content_sha256[:16],
    )


def bare_table(*columns: str) -> Table:
    """Return a table without lines."""
    return Table(*columns, box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))


def _counts(counts: Mapping[Any, int]) -> str:
    if not counts:
        return "0"
    return ", ".join(f"{count:,} {reason.lower()}" for reason, count in sorted(counts.items()))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
