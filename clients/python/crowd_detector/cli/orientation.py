"""Turns pictures upright, as the video's display matrix says."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import av
import av.filter

#: Neither turned nor mirrored.
_UPRIGHT: Final = (1, 0, 0, 0, 1, 0, 0, 0, 1)
_MATRIX: Final = struct.Struct("=9i")
_TURNS: Final = {
    (True, False): ("transpose", "clock"),
    (False, True): ("transpose", "cclock"),
    (True, True): ("transpose", "cclock_flip"),
    (False, False): ("transpose", "clock_flip"),
}


def upright_filters(matrix: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Return FFmpeg's filters, with their argument, that do what a display matrix says.

    Quarter turns and mirrors are known; an angle between is taken for the nearest of these.

    Args:
        matrix: 3 x 3, row by row; a point (x, y) of the picture goes to (x, y, 1) x matrix.
    """
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        return (_TURNS[b > 0, c > 0],)
    mirrors = (("hflip", a < 0), ("vflip", d < 0))
    return tuple((name, "") for name, wanted in mirrors if wanted)


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """Return what a frame says of its orientation."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return _UPRIGHT if data is None else _MATRIX.unpack(data)


class Upright:
    """Turns the frames of one video."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._graph: av.filter.Graph | None = None
        self.quarter_turned = False  # the last one: its width is what was its height

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame upright; the very frame where it is so already."""
        # The matrix is read where something changes only: a frame that was asked for its side data holds
        # itself, and with it some megabytes, until the garbage collector comes by.
        kind = (frame.width, frame.height, frame.format.name, frame.time_base, frame.rotation)
        if kind != self._kind:
            filters = upright_filters(display_matrix(frame))
            self._kind, self._graph = kind, _graph(frame, filters) if filters else None
            self.quarter_turned = any(name == "transpose" for name, _ in filters)
        if self._graph is None:
            return frame
        self._graph.push(frame)
        turned = self._graph.pull()
        assert isinstance(turned, av.VideoFrame)
        return turned


def _graph(frame: av.VideoFrame, filters: tuple[tuple[str, str], ...]) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base,
    )
    steps = [graph.add(name, argument or None) for name, argument in filters]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    return graph
