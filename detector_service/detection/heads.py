"""Raw predictions of a YOLO head, read into candidates: boxes, scores and classes.

Two kinds of head (https://docs.ultralytics.com/modes/export/): that of YOLOv8, 11 and 12 gives every
anchor's box and its score for every class, and needs NMS; that of YOLO26 and YOLOv10, "end to end",
gives finished detections.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes with a score above the threshold, in no order.

    Attributes:
        boxes: shape (n, 4): x1, y1, x2, y2 in pixels of the model's input.
        scores: shape (n,), in [0, 1].
        classes: shape (n,), indices into the model's classes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def of(self, wanted: NDArray[np.bool_]) -> "Candidates":
        """Return those of some classes only.

        Args:
            wanted: as `class_table` gives it.
        """
        return self.at(wanted.take(self.classes, mode="clip") & (self.classes >= 0))

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "Candidates":
        """Return those at these places, in their order."""
        return Candidates(self.boxes[index], self.scores[index], self.classes[index])


def class_table(classes: int, wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which classes are wanted, as a table to look them up in: it is made once, and not for every frame.

    Args:
        classes: how many there are.
        wanted: indices of some.

    Returns:
        Shape (classes + 1,): the last is for indices that are no class, which are not wanted.
    """
    table = np.zeros(classes + 1, np.bool_)
    table[wanted] = True
    return table


def read_anchors(predictions: NDArray[np.float32], threshold: float) -> Candidates:
    """Read the head that needs NMS; an anchor stands for its best class only.

    Args:
        predictions: shape (4 + classes, anchors): centre x, centre y, width, height, then scores.
        threshold: candidates score more than this.
    """
    scores = predictions[4:]
    best = scores.max(axis=0)
    kept = np.flatnonzero(best > threshold)
    centre_x, centre_y, width, height = predictions[:4, kept]
    boxes = np.stack(
        [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2],
        axis=1,
    )
    return Candidates(boxes, best[kept], scores[:, kept].argmax(axis=0))


def read_end_to_end(predictions: NDArray[np.float32], threshold: float) -> Candidates:
    """Read the head that has done NMS itself.

    Args:
        predictions: shape (detections, 6): x1, y1, x2, y2, score, class.
        threshold: candidates score more than this.
    """
    rows = predictions[predictions[:, 4] > threshold]
    return Candidates(rows[:, :4].copy(), rows[:, 4].copy(), rows[:, 5].astype(np.int64))
