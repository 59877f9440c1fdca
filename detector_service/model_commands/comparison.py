"""Whether two engines found the same in a picture."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detector_service.detection.detector import Boxes

#: What is promised of engines that compute in 32 bits, and of those that compute in fewer.
_PIXELS: Final = 1.0
_CONFIDENCE: Final = 0.005
_IOU: Final = 0.9
_SHARE: Final = 0.98
_CONFIDENCE_IN_FEWER_BITS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an engine's boxes differ from those of the reference.

    Attributes:
        matched: pairs of boxes that show the same.
        alone: boxes that only one of both has, unless their confidence is so near the threshold that
            rounding may decide.
        worst_pixels: the most that an edge of a pair is apart, in pixels of the picture.
        worst_confidence: the most that a pair's confidences are apart.
        agree: whether that is what is promised.
    """

    matched: int
    alone: int
    worst_pixels: float
    worst_confidence: float
    agree: bool


def compare(reference: Boxes, other: Boxes, *, threshold: float, exact: bool) -> Comparison:
    """Match boxes one to one, the most alike first.

    Args:
        reference: what the one engine found.
        other: what the other found.
        threshold: of confidence, that both were given.
        exact: whether both compute in 32 bits.
    """
    apart = np.abs(reference[:, None, :4] - other[None, :, :4]).max(axis=2)
    differ = np.abs(reference[:, None, 4] - other[None, :, 4])
    overlap = _overlaps(reference, other)
    alike = (apart <= _PIXELS) & (differ <= _CONFIDENCE) if exact else overlap >= _IOU
    rank = np.where(alike, overlap, -1.0)
    pairs: list[tuple[int, int]] = []
    while rank.size and rank.max() >= 0:
        one, two = (int(place) for place in np.unravel_index(rank.argmax(), rank.shape))
        pairs.append((one, two))
        rank[one, :] = rank[:, two] = -1.0
    slack = _CONFIDENCE if exact else _CONFIDENCE_IN_FEWER_BITS
    alone = sum(
        int(
            (
                np.delete(boxes, [pair[side] for pair in pairs], axis=0)[:, 4] > threshold + slack
            ).sum()
        )
        for side, boxes in enumerate((reference, other))
    )
    share = len(pairs) / (len(pairs) + alone) if pairs or alone else 1.0
    return Comparison(
        matched=len(pairs),
        alone=alone,
        worst_pixels=max((float(apart[pair]) for pair in pairs), default=0.0),
        worst_confidence=max((float(differ[pair]) for pair in pairs), default=0.0),
        agree=alone == 0 if exact else share >= _SHARE,
    )


def _overlaps(some: Boxes, others: Boxes) -> Boxes:
    """Return the intersection over union of each with each, shape (n, m)."""
    upper_left = np.maximum(some[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(some[:, None, 2:4], others[None, :, 2:4])
    shared = np.maximum(lower_right - upper_left, 0).prod(axis=2)
    areas = [(boxes[:, 2:4] - boxes[:, :2]).prod(axis=1) for boxes in (some, others)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None] - shared), np.float32)
