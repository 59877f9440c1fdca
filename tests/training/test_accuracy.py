"""Cases whose average precision is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training import shards
from training.accuracy import ClassFigures, Found, Hits, measure
from training.data import Picture

PERSON, FACE = 0, 1
BOX = (100, 100, 300, 300)


def picture(*boxes: tuple[float, ...], labelled: int = PERSON) -> Picture:
    """Return a picture of 640 x 480 with boxes of the class that it is labelled for."""
    rows = [(labelled, *box) for box in boxes]
    return shards.picture(frozenset({labelled}), *rows, width=640, height=480)


def found(*rows: tuple[float, ...], index: int = PERSON) -> Found:
    """Return detections of a class."""
    return {index: np.array(rows, np.float32).reshape(-1, 5)}


def figures(pictures: list[Picture], detections: list[Found]) -> ClassFigures:
    """Return the figures for people."""
    return measure(pictures, detections)["person"]


def test_what_is_found_exactly_scores_one() -> None:
    """By every measure."""
    person = figures([picture(BOX)], [found((*BOX, 0.9))])
    every = person.sizes["all"]
    assert (every.boxes, every.recall) == (1, 1)
    assert (every.ap50, every.ap50_95) == pytest.approx((1, 1))
    assert (person.precision, person.recall) == (1, 1)


def test_half_of_the_people_found_is_half_the_precision_recall_curve() -> None:
    """51 of COCO's 101 recalls are reached, for 0.5 is one of them."""
    person = figures([picture(BOX, (400, 100, 600, 300))], [found((*BOX, 0.9))])
    assert person.sizes["all"].ap50 == pytest.approx(51 / 101)
    assert (person.precision, person.recall) == (1, 0.5)


def test_a_better_scored_mistake_halves_precision() -> None:
    """At every recall."""
    person = figures([picture(BOX)], [found((*BOX, 0.6), (400, 100, 600, 300, 0.9))])
    assert person.sizes["all"].ap50 == pytest.approx(0.5)
    assert (person.precision, person.recall) == (0.5, 1)


def test_a_second_box_around_the_same_person_is_a_mistake() -> None:
    """One that scores less costs precision at 0.5, and no average precision."""
    person = figures([picture(BOX)], [found((*BOX, 0.9), (*BOX, 0.8))])
    assert person.sizes["all"].ap50 == pytest.approx(1)
    assert person.precision == 0.5


def test_a_loose_box_counts_up_to_its_overlap() -> None:
    """An IoU of 0.625 passes 0.5, 0.55 and 0.6, three of ten thresholds."""
    person = figures([picture(BOX)], [found((100, 100, 300, 225, 0.9))])
    assert person.sizes["all"].ap50 == pytest.approx(1)
    assert person.sizes["all"].ap50_95 == pytest.approx(0.3)


def test_pictures_that_are_not_labelled_for_a_class_do_not_count() -> None:
    """A person found in a picture labelled for faces is no mistake, nor is it right."""
    pictures = [picture(BOX), picture(BOX, labelled=FACE)]
    detections = [found((*BOX, 0.9)), found((0, 0, 50, 50, 0.95))]
    measured = measure(pictures, detections)
    assert (measured["person"].pictures, measured["person"].precision) == (1, 1)
    assert (measured["face"].pictures, measured["face"].recall) == (1, 0)


def test_only_what_scores_more_than_a_half_counts_by_default() -> None:
    """As in the service."""
    person = figures([picture(BOX)], [found((*BOX, 0.5))])
    assert (person.precision, person.recall) == (None, 0)
    assert person.sizes["all"].ap50 == pytest.approx(1)


@pytest.mark.parametrize(
    ("side", "named"),
    [(20, ["small"]), (60, ["medium"]), (150, ["large"]), (400, ["large", "filling"])],
)
def test_sizes_are_those_of_pictures_of_640_pixels(side: int, named: list[str]) -> None:
    """The same in a picture of half the size; other sizes have no such box, and no figures."""
    for scale in (1.0, 0.5):
        box = (10 * scale, 10 * scale, (10 + side) * scale, (10 + side) * scale)
        labelled = shards.picture(
            frozenset({PERSON}), (PERSON, *box), width=round(640 * scale), height=round(480 * scale)
        )
        person = figures([labelled], [found((*box, 0.9))])
        assert [name for name, each in person.sizes.items() if each.boxes] == ["all", *named]
        found_all = [each.ap50 for each in person.sizes.values() if each.boxes]
        assert found_all == pytest.approx([1] * len(found_all))
        assert {each.ap50 for each in person.sizes.values() if not each.boxes} == {None}


def test_where_nothing_is_labelled_there_is_nothing_to_reach() -> None:
    """Figures are missing, not nought; precision is that of mistakes."""
    person = figures([picture()], [found((*BOX, 0.9))])
    assert (person.sizes["all"].ap50, person.recall, person.best) == (None, None, None)
    assert person.precision == 0


def test_the_best_threshold_leaves_out_what_only_costs() -> None:
    """Two hits, a mistake, a hit and many mistakes: after the second hit F1 is 4 / 5, after the third 6 / 7."""
    hits = Hits(
        np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1]),
        np.array([True, True, False, True, False, False, False]),
        positives=3,
    )
    best = hits.best()
    assert best is not None
    assert best.f1 == pytest.approx(6 / 7)
    assert 0.3 < best.threshold < 0.6
    assert hits.at(best.threshold) == (3 / 4, 1)


@given(
    st.lists(st.tuples(st.sampled_from([0.01, 0.2, 0.4, 0.5, 0.7, 0.99, 1.0]), st.booleans())),
    st.integers(0, 5),
)
def test_no_threshold_is_better_than_the_best(rows: list[tuple[float, bool]], missed: int) -> None:
    """Even where scores are equal, which no threshold parts."""
    scores = np.array([score for score, _ in rows])
    correct = np.array([hit for _, hit in rows], bool)
    hits = Hits(scores, correct, int(correct.sum()) + missed)

    def f1(threshold: float) -> float:
        precision, recall = hits.at(threshold)
        if not precision or not recall:
            return 0.0
        return 2 * precision * recall / (precision + recall)

    best = hits.best()
    highest = max((f1(threshold) for threshold in (0.0, *scores)), default=0.0)
    assert (best is None) == (highest == 0)
    if best is not None:
        assert f1(best.threshold) == pytest.approx(best.f1)
        assert best.f1 == pytest.approx(highest)
