"""A line chart in a terminal's characters: braille, 2 x 4 dots a cell."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BLANK: Final = 0x2800
#: The bit of each dot of a cell, by row and column.
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_SMALLEST: Final = (24, 3)


def chart(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """Return the lines of a chart of (time, count) points, axes included.

    Args:
        points: by rising time; counts of 0 and more.
        width: characters a line, all used.
        height: lines, all used; the last is the axis of time.
    """
    width, height = max(width, _SMALLEST[0]), max(height, _SMALLEST[1])
    top = ceiling(max((count for _, count in points), default=0))
    gutter = len(str(top)) + 1
    rows, columns = height - 2, width - gutter - 1
    cells = _plot(points, top, columns, rows)
    labels = {0: str(top), rows - 1: "0"}
    if rows >= 5:  # noqa: PLR2004 - room for a label between
        labels[(rows - 1) // 2] = _halfway(top, (rows - 1) // 2, rows)
    lines = [
        f"{labels.get(row, ''):>{gutter - 1}} {'┤' if row in labels else '│'}"
        + "".join(chr(_BLANK + cell) for cell in cells[row])
        for row in range(rows)
    ]
    lines.append(" " * gutter + "└" + "─" * columns)
    begin, end = (clock(points[0][0]), clock(points[-1][0])) if points else ("", "")
    times = (begin + end.rjust(columns - len(begin)))[:columns]
    lines.append(" " * (gutter + 1) + times.ljust(columns))
    return lines


def ceiling(most: float) -> int:
    """Return where the axis ends: the next of 4, 10, 20, 50, 100, ... that is not exceeded."""
    steps = [
        4,
        *(factor * int(f"1{'0' * power}") for power in range(1, 12) for factor in (1, 2, 5)),
    ]
    return next((step for step in steps if step >= most), steps[-1])


def _plot(
    points: Sequence[tuple[float, float]], top: int, columns: int, rows: int
) -> list[list[int]]:
    cells = [[0] * columns for _ in range(rows)]
    if not points:
        return cells
    begin, span = points[0][0], (points[-1][0] - points[0][0]) or 1.0
    wide, high = columns * 2 - 1, rows * 4 - 1

    def dot(x: int, y: int) -> None:
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]

    places = [
        (
            min(wide, max(0, round((time - begin) / span * wide))),
            high - round(min(count, top) / top * high),
        )
        for time, count in points
    ]
    dot(*places[0])
    for (x1, y1), (x2, y2) in pairwise(places):
        for x in range(x1, x2 + 1):  # a count holds until the next: a step, not a slope
            dot(x, y1)
        for y in range(min(y1, y2), max(y1, y2) + 1):
            dot(x2, y)
    return cells


def _halfway(top: int, row: int, rows: int) -> str:
    value = top * (1 - row / (rows - 1))
    return str(round(value)) if abs(value - round(value)) < 0.05 else ""  # noqa: PLR2004 - of a person


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: 1:05, 2:00:00."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
