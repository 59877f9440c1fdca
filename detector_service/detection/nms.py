"""Non-maximum suppression: of boxes that show the same thing, the most confident stays."""

import numpy as np
from numpy.typing import NDArray

from detector_service.detection.heads import Candidates


def suppress(candidates: Candidates, *, iou_threshold: float, most: int) -> Candidates:
    """Return the boxes that no better one of their class overlaps, by falling score.

    Greedy NMS, class by class, as ``torchvision.ops.nms`` has it and Ultralytics uses it: a box goes
    if its IoU with a better one that stays is *more* than the threshold.

    Args:
        candidates: in any order.
        iou_threshold: intersection over union, in [0, 1].
        most: stop after this many.
    """
    ranked = candidates.at(np.argsort(-candidates.scores, kind="stable"))
    boxes, classes = ranked.boxes, ranked.classes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        if left.size:
            overlap = _intersection(boxes[best], boxes[left])
            union = areas[best] + areas[left] - overlap
            # A box of no size has no union to divide by; like torchvision, none is suppressed for it.
            with np.errstate(divide="ignore", invalid="ignore"):
                too_much = overlap / union > iou_threshold
            left = left[~(too_much & (classes[left] == classes[best]))]
    return ranked.at(np.array(kept, np.int64))


def _intersection(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    upper_left = np.maximum(box[:2], others[:, :2])
    lower_right = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(lower_right - upper_left, 0)
    area: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area
