"""The figures of a frame: levels at their edges, and a density that never falls as people come."""

import numpy as np
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from detector_service.crowd.analysis import analyse, covered_share, crowd_level, density_score

WIDTH, HEIGHT = 64, 48
boxes = st.builds(
    lambda x, y, w, h: (x, y, min(x + w, WIDTH), min(y + h, HEIGHT)),
    st.integers(0, WIDTH - 1),
    st.integers(0, HEIGHT - 1),
    st.integers(1, WIDTH),
    st.integers(1, HEIGHT),
)
people = st.lists(boxes, max_size=15)


def table(rows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Return boxes as an array."""
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("total", "level"),
    [
        (0, pb.CROWD_LEVEL_EMPTY),
        (1, pb.CROWD_LEVEL_LOW),
        (2, pb.CROWD_LEVEL_LOW),
        (3, pb.CROWD_LEVEL_MEDIUM),
        (5, pb.CROWD_LEVEL_MEDIUM),
        (6, pb.CROWD_LEVEL_HIGH),
        (10, pb.CROWD_LEVEL_HIGH),
        (11, pb.CROWD_LEVEL_VERY_HIGH),
        (600, pb.CROWD_LEVEL_VERY_HIGH),
    ],
)
def test_levels_begin_and_end_where_the_contract_says(
    total: int, level: pb.CrowdLevel.ValueType
) -> None:
    """0, 1-2, 3-5, 6-10, 11 and more."""
    assert crowd_level(total) == level


@given(faces=people, bodies=people)
def test_the_total_is_the_larger_count(
    faces: list[tuple[int, int, int, int]], bodies: list[tuple[int, int, int, int]]
) -> None:
    """A person seen as a face and a body counts once."""
    figures = analyse(table(faces), table(bodies), WIDTH, HEIGHT)
    assert (figures.face_count, figures.body_count) == (len(faces), len(bodies))
    assert figures.total_people == max(len(faces), len(bodies))
    assert figures.level == crowd_level(figures.total_people)


@given(faces=people, bodies=people, newcomer=boxes, as_face=st.booleans())
def test_density_never_falls_as_people_are_added(
    faces: list[tuple[int, int, int, int]],
    bodies: list[tuple[int, int, int, int]],
    newcomer: tuple[int, int, int, int],
    as_face: bool,
) -> None:
    """One more face or body never makes a frame less dense, and the score stays in [0, 1]."""
    before = analyse(table(faces), table(bodies), WIDTH, HEIGHT).density_score
    after = analyse(
        table([*faces, newcomer] if as_face else faces),
        table(bodies if as_face else [*bodies, newcomer]),
        WIDTH,
        HEIGHT,
    ).density_score
    assert 0 <= before <= after + 1e-12 <= 1 + 1e-12
    assert after > 0


def test_an_empty_frame_has_no_density() -> None:
    """Nobody, nothing."""
    figures = analyse(table([]), table([]), WIDTH, HEIGHT)
    assert figures.density_score == 0
    assert figures.level == pb.CROWD_LEVEL_EMPTY


def test_the_documented_formula() -> None:
    """The geometric mean of 1 - 2^(-n/10) and the covered share, at points that can be checked by hand."""
    assert density_score(10, 0.5) == pytest.approx(0.5)
    assert density_score(0, 1.0) == 0
    assert density_score(5, 0.0) == 0
    assert density_score(1_000_000, 1.0) == pytest.approx(1)


@given(rows=people)
def test_the_covered_share_is_that_of_a_painted_frame(
    rows: list[tuple[int, int, int, int]],
) -> None:
    """Painting the boxes and counting pixels gives the same share."""
    canvas = np.zeros((HEIGHT, WIDTH), bool)
    for x1, y1, x2, y2 in rows:
        canvas[y1:y2, x1:x2] = True
    assert covered_share(table(rows), WIDTH, HEIGHT) == pytest.approx(canvas.mean())
