"""Reading raw predictions of both kinds of head."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector_service.detection.heads import class_table, read_anchors, read_end_to_end


def test_an_anchor_stands_for_its_best_class() -> None:
    """Centre and size become corners; the best score and its class are kept, the rest is not."""
    predictions = np.array(
        [[50, 60], [40, 30], [20, 8], [10, 4], [0.2, 0.1], [0.9, 0.3]], np.float32
    )
    found = read_anchors(predictions, 0.5)
    np.testing.assert_allclose(found.boxes, [[40, 35, 60, 45]])
    np.testing.assert_allclose(found.scores, [0.9])
    assert found.classes.tolist() == [1]


def test_a_score_at_the_threshold_is_left_out() -> None:
    """Candidates score more than the threshold, as Ultralytics has it."""
    predictions = np.array([[5], [5], [2], [2], [0.5]], np.float32)
    assert len(read_anchors(predictions, 0.5).scores) == 0
    assert len(read_anchors(predictions, 0.49).scores) == 1
    assert len(read_end_to_end(np.array([[0, 0, 1, 1, 0.5, 0]], np.float32), 0.5).scores) == 0


def test_finished_detections_are_taken_as_they_are() -> None:
    """The NMS-free head gives corners, score and class, in that order."""
    found = read_end_to_end(
        np.array([[1, 2, 3, 4, 0.8, 1], [0, 0, 0, 0, 0.0, 0]], np.float32), 0.25
    )
    np.testing.assert_allclose(found.boxes, [[1, 2, 3, 4]])
    assert found.classes.tolist() == [1]


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(5, 8), st.integers(0, 30)),
        elements=st.floats(0, 1, width=32),
    ),
    st.floats(0, 1),
)
def test_every_candidate_scores_more_than_the_threshold(
    predictions: np.ndarray, threshold: float
) -> None:
    """As many candidates as anchors above the threshold, each with the score of its class."""
    found = read_anchors(predictions, threshold)
    assert len(found.boxes) == (predictions[4:].max(axis=0, initial=-1) > threshold).sum()
    assert (found.scores > threshold).all()


def test_candidates_of_some_classes() -> None:
    """`of` keeps order and drops what is of another class."""
    rows = np.array([[0, 0, 1, 1, 0.9, 2], [0, 0, 2, 2, 0.8, 0], [0, 0, 3, 3, 0.7, 2]], np.float32)
    kept = read_end_to_end(rows, 0.1).of(class_table(3, np.array([2])))
    np.testing.assert_allclose(kept.scores, [0.9, 0.7])


def test_an_index_that_is_no_class_is_not_wanted() -> None:
    """Whatever a model answers, reading it is no error."""
    rows = np.array(
        [
            [0, 0, 1, 1, 0.9, 3],
            [0, 0, 2, 2, 0.8, 700],
            [0, 0, 3, 3, 0.7, 2],
            [0, 0, 4, 4, 0.6, -1],
        ],
        np.float32,
    )
    kept = read_end_to_end(rows, 0.1).of(class_table(3, np.array([0, 1, 2])))
    np.testing.assert_allclose(kept.scores, [0.7])
