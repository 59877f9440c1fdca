"""YOLO detection models that need no training, and Ultralytics' own `predict` to compare with.

Freshly initialised weights score everything at about 1e-4, which compares nothing. The models here
are seeded, take the statistics of their BatchNorm layers from photographs, and have the last layers of
their heads scaled until scores and boxes spread: they detect nothing sensible, but dozens of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import cv2
import numpy as np
import onnx
import skimage.data
import torch
from numpy.typing import NDArray

from detector_service.frames.pixels import Image
from tests.detection.oracle import ASSETS, ROOT, YAML, YOLO, DetectionModel, LetterBox

#: Shape (n, 6): x1, y1, x2, y2 in pixels of the frame, confidence, class.
Rows: TypeAlias = NDArray[np.float32]

#: The longest side of the seeded models' input, in pixels.
SIDE: Final = 320

#: How many detections `predict` gives at most, and the service.
_MOST: Final = 300

#: Where the logits of a class lie over the photographs: at their median, and at their 98th
#: percentile; with many classes the other ones lie lower, so that the first is often the best.
_MEDIAN_LOGIT: Final = -4.5
_HIGH_LOGIT: Final = -1.5
_OTHERS_LOWER: Final = 2.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one model.

    Attributes:
        architecture: the name of Ultralytics' file that describes it.
        seed: of its weights; chosen so that no photograph is without detections.
        classes: its classes' names.
    """

    architecture: str
    seed: int
    classes: Mapping[int, str]


def coco_classes() -> dict[int, str]:
    """Return the names of COCO's 80 classes; 0 is 'person'."""
    yaml: Any = YAML
    names = yaml.load(ROOT / "cfg" / "datasets" / "coco.yaml")["names"]
    return {int(index): str(name) for index, name in names.items()}


def photograph_files() -> tuple[Path, Path]:
    """Return the two JPEG files that Ultralytics brings: a street, and two men's heads."""
    return Path(ASSETS / "bus.jpg"), Path(ASSETS / "zidane.jpg")


def photographs() -> tuple[Image, Image, Image]:
    """Return a street (810 x 1080), two men (1280 x 720) and an astronaut (512 x 512)."""
    street, men = (np.asarray(cv2.imread(str(path)), np.uint8) for path in photograph_files())
    samples: Any = skimage.data
    astronaut = np.asarray(samples.astronaut(), np.uint8)
    return street, men, np.ascontiguousarray(astronaut[..., ::-1])


def frames() -> dict[str, Image]:
    """Return the photographs and parts of them, in the shapes that cameras and people send."""
    street, men, astronaut = photographs()
    return {
        "landscape": men,
        "landscape street": np.ascontiguousarray(street[330:786]),
        "portrait": street,
        "square": astronaut,
        "odd": _resized(street[300:800], 517, 389),
        # Its input, 320 x 32, has fewer places for boxes than a head without NMS gives detections.
        "elongated": _resized(street[460:580, 10:800], 1200, 90),
        # A side of its input is rounded down to a whole stride, which shows in the way back.
        "rounded down": _resized(street, 1222, 1982),
        "tall": _resized(street[250:1050, 200:300], 131, 977),
        "small": _resized(astronaut[:320, 100:], 97, 75),
    }


def save(recipe: Recipe, weights: Path) -> None:
    """Make a model and write its weights, as half-precision numbers, as Ultralytics does."""
    torch.manual_seed(recipe.seed)
    make: Any = DetectionModel
    network = make(recipe.architecture, nc=len(recipe.classes), verbose=False)
    network.names = dict(recipe.classes)
    pictures = _pictures()
    with torch.no_grad():
        _take_statistics(network, pictures)
        _spread_answers(network, pictures)
    model: Any = YOLO(recipe.architecture, task="detect")
    model.model = network
    model.ckpt = {"train_args": {"imgsz": SIDE}}
    model.save(weights)


def export(
    weights: Path, kind: Literal["onnx", "openvino"], *, dynamic: bool, end_to_end: bool = False
) -> Path:
    """Export weights as a user would; the result lies beside them.

    Args:
        weights: the file.
        kind: of export.
        dynamic: whether the result takes any size.
        end_to_end: whether to use the head that needs no NMS.
    """
    model = YOLO(weights)
    return Path(
        model.export(
            format=kind, dynamic=dynamic, imgsz=SIDE, simplify=True, **_head(end_to_end=end_to_end)
        )
    )


def renamed(model: Path, classes: Mapping[int, str], to: Path) -> Path:
    """Copy an ONNX file, giving its classes other names."""
    graph = onnx.load(model)
    for entry in graph.metadata_props:
        if entry.key == "names":
            entry.value = str(dict(classes))
    onnx.save(graph, to)
    return to


class Oracle:
    """Ultralytics' `predict`, with the settings that the service promises to equal."""

    def __init__(
        self, weights: Path, *, side: int, end_to_end: bool = False, rect: bool = True
    ) -> None:
        self._model: Final[Any] = YOLO(weights)
        self._end_to_end: Final = end_to_end
        self._how: Final = {
            "imgsz": side,
            "rect": rect,
            "device": "cpu",
            "verbose": False,
            **_head(end_to_end=end_to_end),
        }

    def predict(self, source: Image | Path, confidence: float, classes: Sequence[int]) -> Rows:
        """Return what `predict` finds, by falling confidence.

        A box without an area in the frame, which lies in the padding, is left out: the service says
        nothing of it.
        """
        return _with_area(self._rows(source, confidence, classes))

    def predict_to_the_edge(
        self, source: Image | Path, confidence: float, classes: Sequence[int]
    ) -> tuple[Rows, float]:
        """Return what `predict` finds, and the score below which it finds no more.

        That is the threshold, or the score of the 300th.
        """
        rows = self._rows(source, confidence, classes)
        # The head without NMS takes the best 300 of all classes, before any is left out.
        ranked = self._rows(source, confidence, None) if self._end_to_end else rows
        edge = float(ranked[:, 4].min()) if len(ranked) >= _MOST else confidence
        return _with_area(rows), edge

    def undecided(self, source: Image | Path, confidence: float, classes: Sequence[int]) -> Rows:
        """Return the boxes that NMS keeps or drops by no more than the error of arithmetic.

        Those are: boxes that come or go when the IoU threshold moves by a thousandth, and boxes of one
        class that overlap and whose scores differ by less than 1e-4, of which either may come first.
        """
        if self._end_to_end:
            return np.empty((0, 6), np.float32)
        low, usual, high, every = (
            self._rows(source, confidence, classes, iou=iou, most=30_000)
            for iou in (0.699, 0.7, 0.701, 1.0)
        )
        contested = [
            row
            for one, other in ((usual, low), (low, usual), (usual, high), (high, usual))
            for row in one
            if not (other == row).all(axis=1).any()
        ]
        for place, row in enumerate(every):
            rivals = (np.abs(every[:, 4] - row[4]) < 1e-4) & (every[:, 5] == row[5])
            rivals[place] = False
            # Where the frame cuts boxes their IoU is another than it was for NMS.
            if (overlaps(row, every[rivals]) > 0.6).any():
                contested.append(row)
        return np.array(contested, np.float32).reshape(-1, 6)

    def _rows(
        self,
        source: Image | Path,
        confidence: float,
        classes: Sequence[int] | None,
        *,
        iou: float = 0.7,
        most: int = _MOST,
    ) -> Rows:
        (result,) = self._model.predict(
            source, conf=confidence, iou=iou, max_det=most, classes=classes, **self._how
        )
        return np.asarray(result.boxes.data.numpy(), np.float32)


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of one box with each of the others."""
    upper_left = np.maximum(box[:2], others[:, :2])
    lower_right = np.minimum(box[2:4], others[:, 2:4])
    shared = np.maximum(lower_right - upper_left, 0).prod(axis=1)
    areas = (others[:, 2:4] - others[:, :2]).prod(axis=1)
    return np.asarray(shared / ((box[2:4] - box[:2]).prod() + areas - shared), np.float32)


def _with_area(rows: Rows) -> Rows:
    return rows[(rows[:, 0] < rows[:, 2]) & (rows[:, 1] < rows[:, 3])]


def _head(*, end_to_end: bool) -> dict[str, bool]:
    """Say which head is meant; without a word it is the one that every model has."""
    return {"nms": False} if end_to_end else {}


def _resized(image: Image, width: int, height: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height)), np.uint8)


def _pictures() -> Any:
    """Return the frames as a network sees them, shape (n, 3, SIDE, SIDE)."""
    fit: Any = LetterBox((SIDE, SIDE))
    pictures = np.stack([fit(image=frame) for frame in frames().values()])[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255


def _take_statistics(network: Any, pictures: Any) -> None:
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over all passes, of which there is one
    network.train()
    network(pictures)
    network.eval()


def _spread_answers(network: Any, pictures: Any) -> None:
    """Scale and shift the last layers of the head, by what they answer to the photographs."""
    head = network.model[-1]
    branches = [(head.cv2, head.cv3)]
    if hasattr(head, "one2one_cv2"):
        branches.append((head.one2one_cv2, head.one2one_cv3))
    last_layers = [level[-1] for branch in branches for levels in branch for level in levels]
    with _answers(last_layers) as answers:
        network(pictures)
    for box_levels, class_levels in branches:
        for level in class_levels:
            _spread_scores(level[-1], answers[level[-1]])
        for level in box_levels:
            _spread_boxes(level[-1], answers[level[-1]], head.reg_max)


@contextmanager
def _answers(layers: Sequence[Any]) -> Iterator[dict[Any, Any]]:
    """Note what layers answer, each in the shape (channels, everything else)."""
    noted: dict[Any, Any] = {}

    def note(layer: Any, _inputs: Any, answer: Any) -> None:
        noted[layer] = answer.transpose(0, 1).flatten(1)

    hooks = [layer.register_forward_hook(note) for layer in layers]
    yield noted
    for hook in hooks:
        hook.remove()


def _spread_scores(layer: Any, logits: Any) -> None:
    low, high = logits.quantile(0.5, dim=1), logits.quantile(0.98, dim=1)
    wanted_low = torch.full_like(low, _MEDIAN_LOGIT)
    wanted_high = torch.full_like(low, _HIGH_LOGIT)
    if len(low) > 10:
        wanted_high[1:] -= _OTHERS_LOWER
    scale = (wanted_high - wanted_low) / (high - low)
    _rescale(layer, scale, wanted_low - low * scale)


def _spread_boxes(layer: Any, distances: Any, bins: int) -> None:
    """Return boxes sides of some strides; without bins the layer gives their halves themselves."""
    deviation, mean = torch.std_mean(distances, dim=1)
    if bins == 1:
        scale, wanted = 0.5 / deviation, torch.full_like(mean, 2.5)
    else:
        scale, wanted = 1.0 / deviation, -0.25 * torch.arange(bins).repeat(4).float()
    _rescale(layer, scale, wanted - mean * scale)


def _rescale(layer: Any, scale: Any, shift: Any) -> None:
    layer.weight *= scale[:, None, None, None]
    layer.bias.copy_(layer.bias * scale + shift)
