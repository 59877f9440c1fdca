"""When two engines find the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_service.detection.detector import Boxes
from detector_service.model_commands.comparison import compare

BOXES = st.lists(
    st.tuples(
        st.floats(0, 100, width=32),
        st.floats(0, 100, width=32),
        st.floats(1, 100, width=32),
        st.floats(1, 100, width=32),
        st.floats(0.25, 1, width=32),
    ),
    max_size=12,
).map(lambda rows: boxes(*((x, y, x + w, y + h, score) for x, y, w, h, score in rows)))


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """Make boxes of x1, y1, x2, y2, confidence."""
    return np.array(rows, np.float32).reshape(-1, 5)


@given(BOXES, st.booleans(), st.randoms())
def test_what_is_found_is_found_in_any_order(found: Boxes, exact: bool, random: object) -> None:
    """Every box has a counterpart, itself or one as like."""
    order = list(range(len(found)))
    random.shuffle(order)  # type: ignore[attr-defined]
    compared = compare(found, found[order], threshold=0.25, exact=exact)
    assert compared.agree
    assert (compared.matched, compared.alone) == (len(found), 0)


@given(BOXES, BOXES, st.booleans())
def test_every_box_is_matched_once_at_most(one: Boxes, other: Boxes, exact: bool) -> None:
    """Whatever the boxes."""
    compared = compare(one, other, threshold=0.0, exact=exact)
    assert compared.matched <= min(len(one), len(other))
    assert compared.alone <= len(one) + len(other) - 2 * compared.matched
    if exact:
        assert compared.worst_pixels <= 1.0


def test_32_bits_are_held_to_a_pixel_and_to_5_thousandths() -> None:
    """One coordinate, or the confidence, decides."""
    reference = boxes((10, 10, 110, 110, 0.9))
    for x1, score, agrees in (
        (10.9, 0.9, True),
        (11.1, 0.9, False),
        (10, 0.904, True),
        (10, 0.89, False),
    ):
        other = boxes((x1, 10, 110, 110, score))
        assert compare(reference, other, threshold=0.25, exact=True).agree is agrees


def test_fewer_bits_are_held_to_an_overlap() -> None:
    """Of nine tenths."""
    reference = boxes((10, 10, 110, 110, 0.9))
    for x1, agrees in ((12, True), (25, False)):
        other = boxes((x1, 10, 110, 110, 0.87))
        assert compare(reference, other, threshold=0.25, exact=False).agree is agrees


def test_what_is_as_good_as_at_the_threshold_may_be_missing() -> None:
    """And nothing else."""
    nothing = boxes()
    assert compare(boxes((0, 0, 9, 9, 0.254)), nothing, threshold=0.25, exact=True).agree
    assert not compare(boxes((0, 0, 9, 9, 0.256)), nothing, threshold=0.25, exact=True).agree
    assert not compare(nothing, boxes((0, 0, 9, 9, 0.4)), threshold=0.25, exact=False).agree
