"""How good detections are: average precision as COCO has it, and precision and recall at a threshold.

pycocotools matches boxes and averages precision. A class is measured on the pictures labelled for it
alone. Boxes are small, medium or large as in COCO (under 32 x 32 pixels, under 96 x 96, others) in pictures
scaled to a longest side of 640 pixels, as COCO's are; "filling" are those of the large ones that have at least
320 x 320 there, a quarter of a square picture.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.data import CLASSES, Picture

#: Of each class's number, boxes of shape (n, 5): x1, y1, x2, y2 in pixels of the picture, confidence.
Found: TypeAlias = Mapping[int, NDArray[np.float32]]

#: The threshold of confidence that the service has by default.
DEFAULT_THRESHOLD: Final = 0.5
_LONGEST: Final = 640
_MOST: Final = 300
_EVERYTHING: Final = 1e10
_SIZES: Final = {
    "all": (0.0, _EVERYTHING),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, _EVERYTHING),
    "filling": (320.0**2, _EVERYTHING),
}


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """Of one class's boxes of some size; figures are None where there is no such box.

    Attributes:
        boxes: labelled.
        ap50: average precision at an IoU of 0.5.
        ap50_95: mean of average precisions at IoUs of 0.5, 0.55 ... 0.95.
        recall: at an IoU and a confidence of 0.5.
    """

    boxes: int
    ap50: float | None
    ap50_95: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where a class's F1 is highest.

    Attributes:
        threshold: what scores more counts.
        f1: harmonic mean of precision and recall.
    """

    threshold: float
    f1: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of one class.

    Attributes:
        pictures: that are labelled for it.
        precision: at an IoU and a confidence of 0.5; None where nothing scores as much.
        recall: likewise; None where nothing is labelled.
        best: the threshold with the best F1; None where there is nothing to choose by.
        sizes: by the name of the size; "all" is of all boxes.
    """

    pictures: int
    precision: float | None
    recall: float | None
    best: Optimum | None
    sizes: Mapping[str, SizeFigures]


@dataclass(frozen=True, slots=True)
class Hits:
    """Detections of a class in all pictures, matched at an IoU of 0.5.

    Attributes:
        scores: of each detection.
        correct: whether it is a labelled box's.
        positives: how many boxes are labelled.
    """

    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    positives: int

    def at(self, threshold: float) -> tuple[float | None, float | None]:
        """Return precision and recall of what scores more than a threshold."""
        counted = self.scores > threshold
        hits, all_found = int((counted & self.correct).sum()), int(counted.sum())
        return _share(hits, all_found), _share(hits, self.positives)

    def best(self) -> Optimum | None:
        """Return the threshold with the highest F1, half way (in logits) to the next score that it leaves out."""
        order = np.argsort(-self.scores, kind="stable")
        scores, hits = self.scores[order], self.correct[order].cumsum()
        if not self.positives or not len(scores) or not hits[-1]:
            return None
        f1 = 2 * hits / (np.arange(1, len(scores) + 1) + self.positives)
        f1[:-1][scores[:-1] == scores[1:]] = 0  # no threshold parts equal scores
        place = int(f1.argmax())
        following = scores[place + 1] if place + 1 < len(scores) else 0.0
        between = (logit(scores[place]) + logit(following)) / 2
        return Optimum(float(1 / (1 + np.exp(-between))), float(f1[place]))


def logit(probability: float) -> float:
    """Return the logit of a probability, of 0 and 1 that of the nearest number which has one."""
    inner = min(max(float(probability), 1e-6), 1 - 1e-6)
    return float(np.log(inner / (1 - inner)))


def measure(pictures: Sequence[Picture], found: Sequence[Found]) -> dict[str, ClassFigures]:
    """Compare detections with labels.

    Args:
        pictures: labelled.
        found: of each picture, whatever scored more than nearly nothing.

    Returns:
        Of each class's name its figures.
    """
    return {name: _measure_class(pictures, found, index) for index, name in enumerate(CLASSES)}


def hits(pictures: Sequence[Picture], found: Sequence[Found], index: int) -> Hits:
    """Return the detections of a class, matched, in the pictures labelled for it."""
    return _hits(_evaluated(pictures, found, index))


def _measure_class(pictures: Sequence[Picture], found: Sequence[Found], index: int) -> ClassFigures:
    evaluation = _evaluated(pictures, found, index)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    everything = _hits(evaluation)
    precision, recall = everything.at(DEFAULT_THRESHOLD)
    return ClassFigures(
        pictures=sum(index in picture.labelled for picture in pictures),
        precision=precision,
        recall=recall,
        best=everything.best(),
        sizes={name: _size_figures(evaluation, place) for place, name in enumerate(_SIZES)},
    )


def _evaluated(pictures: Sequence[Picture], found: Sequence[Found], index: int) -> Any:
    """Match a class's detections with its labels, for each size and each IoU."""
    labels: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    numbers = [number for number, picture in enumerate(pictures) if index in picture.labelled]
    for number in numbers:
        picture = pictures[number]
        scale = _LONGEST / max(picture.size)
        boxes = picture.boxes[picture.boxes[:, 0] == index, 1:]
        labels += _annotations(number, boxes * scale, len(labels))
        rows = found[number].get(index, np.zeros((0, 5), np.float32))
        detections += [
            annotation | {"score": float(score)}
            for annotation, score in zip(
                _annotations(number, rows[:, :4] * scale, len(detections)), rows[:, 4], strict=True
            )
        ]
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        evaluation: Any = COCOeval(_dataset(numbers, labels), _dataset(numbers, detections), "bbox")
        evaluation.params.areaRng = [list(limits) for limits in _SIZES.values()]
        evaluation.params.areaRngLbl = list(_SIZES)
        evaluation.params.maxDets = [_MOST]
        evaluation.evaluate()
    return evaluation


def _annotations(picture: int, boxes: NDArray[np.float32], after: int) -> list[dict[str, Any]]:
    """Return boxes as COCO has them; numbers start at 1, for 0 means "not matched" there."""
    return [
        {
            "id": after + place + 1,
            "image_id": picture,
            "category_id": 0,
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "area": float((x2 - x1) * (y2 - y1)),
            "iscrowd": 0,
        }
        for place, (x1, y1, x2, y2) in enumerate(boxes)
    ]


def _dataset(numbers: Sequence[int], annotations: list[dict[str, Any]]) -> Any:
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in numbers],
        "categories": [{"id": 0}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _hits(evaluation: Any, size: int = 0) -> Hits:
    """Return the matches at an IoU of 0.5, of boxes of one size."""
    count = len(evaluation.params.imgIds)
    parts = [part for part in evaluation.evalImgs[size * count : (size + 1) * count] if part]
    none = np.zeros(0)
    ignored = np.concatenate([none, *(part["dtIgnore"][0] for part in parts)]).astype(bool)
    scores = np.concatenate([none, *(part["dtScores"] for part in parts)])
    matched = np.concatenate([none, *(part["dtMatches"][0] for part in parts)]) > 0
    positives = sum(int((np.asarray(part["gtIgnore"]) == 0).sum()) for part in parts)
    return Hits(scores[~ignored], matched[~ignored], positives)


def _size_figures(evaluation: Any, size: int) -> SizeFigures:
    # IoU, recall, class, size, most detections; -1 where there is nothing to find.
    precision = evaluation.eval["precision"][:, :, 0, size, 0]
    matched = _hits(evaluation, size)
    if not matched.positives:
        return SizeFigures(0, None, None, None)
    return SizeFigures(
        boxes=matched.positives,
        ap50=float(precision[0].mean()),
        ap50_95=float(precision.mean()),
        recall=matched.at(DEFAULT_THRESHOLD)[1],
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
