"""The figures of one frame."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from crowd.detector.v1 import detector_pb2 as pb
from numpy.typing import NDArray

#: The most people that a level holds.
_LEVELS: Final = (
    (0, pb.CROWD_LEVEL_EMPTY),
    (2, pb.CROWD_LEVEL_LOW),
    (5, pb.CROWD_LEVEL_MEDIUM),
    (10, pb.CROWD_LEVEL_HIGH),
)

#: People at whom the count alone makes half a crowd: the upper end of the level "high".
_HALF_CROWD: Final = 10


@dataclass(frozen=True, slots=True)
class CrowdFigures:
    """The crowd in one frame.

    Attributes:
        face_count: faces.
        body_count: bodies.
        total_people: the larger of the two.
        level: the level that total_people falls into.
        density_score: how full the frame is, in [0, 1].
    """

    face_count: int
    body_count: int
    total_people: int
    level: pb.CrowdLevel.ValueType
    density_score: float


def analyse(
    faces: NDArray[np.float32], bodies: NDArray[np.float32], width: int, height: int
) -> CrowdFigures:
    """Return the figures of a frame.

    Args:
        faces: shape (n, 4 or more): x1, y1, x2, y2 in pixels of the frame.
        bodies: likewise.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
    """
    total = max(len(faces), len(bodies))
    boxes = np.concatenate([faces[:, :4], bodies[:, :4]])
    return CrowdFigures(
        face_count=len(faces),
        body_count=len(bodies),
        total_people=total,
        level=crowd_level(total),
        density_score=density_score(total, covered_share(boxes, width, height)),
    )


def crowd_level(total_people: int) -> pb.CrowdLevel.ValueType:
    """Return the level of this many people, at least 0."""
    return next(
        (level for most, level in _LEVELS if total_people <= most), pb.CROWD_LEVEL_VERY_HIGH
    )


def density_score(total_people: int, covered: float) -> float:
    """Say how full a frame is: 0 for nobody, towards 1 for many who fill it.

    The geometric mean of two shares, each in [0, 1] and never falling as people are added: that of
    the count, 1 - 2^(-total_people / 10), and that of the frame's area that the boxes cover. So
    one face close to the camera is no crowd, and neither are ten people far away.

    Args:
        total_people: at least 0.
        covered: covered_share of all boxes.
    """
    return float(np.sqrt((1 - 2 ** (-total_people / _HALF_CROWD)) * covered))


def covered_share(boxes: NDArray[np.float32], width: int, height: int) -> float:
    """Return the share of a frame that boxes cover together, in [0, 1]; overlaps count once.

    The plane is cut along all edges into cells; a difference array counts how many boxes cover each
    (the two-dimensional form of a prefix sum), which takes time for n boxes of n + the cells.

    Args:
        boxes: shape (n, 4): x1, y1, x2, y2 in pixels, within the frame.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
    """
    if not len(boxes):
        return 0.0
    exact = boxes.astype(np.float64)
    x, columns = np.unique(exact[:, [0, 2]], return_inverse=True)
    y, rows = np.unique(exact[:, [1, 3]], return_inverse=True)
    columns, rows = columns.reshape(-1, 2), rows.reshape(-1, 2)
    change = np.zeros((len(y), len(x)), np.int32)
    for row, column, step in ((0, 0, 1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
        np.add.at(change, (rows[:, row], columns[:, column]), step)
    covered = change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    area = np.diff(y) @ covered @ np.diff(x)
    return float(np.clip(area / (width * height), 0, 1))
