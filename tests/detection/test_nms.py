"""Non-maximum suppression, held against the plainest form of itself and against torchvision."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms as torchvision_nms

from detector_service.detection.heads import Candidates
from detector_service.detection.nms import suppress

corners = st.integers(0, 60)
#: A head without DFL may give boxes of no or negative size.
sizes = st.integers(-10, 40)
rows = st.lists(
    st.tuples(corners, corners, sizes, sizes, st.integers(0, 2)),
    max_size=40,
)


def candidates(values: list[tuple[int, int, int, int, int]], scores: list[float]) -> Candidates:
    """Make candidates of corner, size and class."""
    table = np.array(values, np.float32).reshape(-1, 5)
    boxes = np.column_stack([table[:, :2], table[:, :2] + table[:, 2:4]])
    return Candidates(boxes, np.array(scores, np.float32), table[:, 4].astype(np.int64))


@given(values=rows, threshold=st.sampled_from([0.1, 0.45, 0.7]), seed=st.integers(0, 1000))
def test_it_keeps_what_torchvision_keeps(
    values: list[tuple[int, int, int, int, int]], threshold: float, seed: int
) -> None:
    """The same boxes, in the same order, as torchvision's NMS within each class."""
    scores = np.random.default_rng(seed).permutation(len(values)) / 100 + 0.01
    given_ones = candidates(values, scores.tolist())
    kept = suppress(given_ones, iou_threshold=threshold, most=300)
    expected: list[int] = []
    for kind in range(3):
        index = np.flatnonzero(given_ones.classes == kind)
        chosen = torchvision_nms(
            torch.from_numpy(given_ones.boxes[index]),
            torch.from_numpy(given_ones.scores[index]),
            threshold,
        )
        expected += index[chosen.numpy()].tolist()
    expected.sort(key=lambda i: -given_ones.scores[i])
    np.testing.assert_array_equal(kept.boxes, given_ones.boxes[expected])
    np.testing.assert_array_equal(kept.scores, given_ones.scores[expected])


@given(values=rows)
def test_what_is_kept_does_not_overlap(values: list[tuple[int, int, int, int, int]]) -> None:
    """No two kept boxes of a class overlap more than allowed, and scores fall."""
    scores = np.linspace(0.9, 0.1, len(values)).tolist()
    kept = suppress(candidates(values, scores), iou_threshold=0.5, most=300)
    assert (np.diff(kept.scores) <= 0).all()
    for i, a in enumerate(kept.boxes):
        for j, b in enumerate(kept.boxes[:i]):
            if kept.classes[i] == kept.classes[j]:
                sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
                overlap = sides.prod()
                union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap
                assert overlap <= 0.5 * union or union <= 0


def test_no_more_than_asked_for() -> None:
    """It stops after the given number."""
    values = [(i * 50, 0, 10, 10, 0) for i in range(5)]
    assert suppress(
        candidates(values, [0.1, 0.5, 0.3, 0.4, 0.2]), iou_threshold=0.7, most=3
    ).scores.tolist() == [
        np.float32(0.5),
        np.float32(0.4),
        np.float32(0.3),
    ]


def test_nothing_gives_nothing() -> None:
    """No candidates, no detections."""
    assert len(suppress(candidates([], []), iou_threshold=0.7, most=300).boxes) == 0
