"""What a model finds of the classes that pictures are not labelled for, to learn from.

    python -m training.pseudo_labels WEIGHTS.pt OUT.json [--classes person face] [--data FOLDER] [--size 416]

`training.train --pseudo-labels OUT.json` takes what scores more than --sure for labels, what scores less than
--unsure for nothing, and what is between for unknown (as in "soft teacher" methods, arXiv:2106.09018, with two
hard thresholds). A class that the model was not asked for stays unknown everywhere.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from training import data, finders, networks
from training.accuracy import Found
from training.data import CLASSES, Picture
from training.errors import TrainingError
from training.finders import Finder


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """What a model found.

    Attributes:
        classes: that were looked for, by their numbers.
        boxes: by the names of the pictures that are not labelled for all of these: rows of class, x1, y1, x2, y2 in
            pixels, confidence.
    """

    classes: frozenset[int]
    boxes: Mapping[str, Sequence[Sequence[float]]]

    def write(self, path: Path) -> None:
        """Write them for `read`."""
        names = [CLASSES[index] for index in sorted(self.classes)]
        path.write_text(json.dumps({"classes": names, "boxes": self.boxes}) + "\n")


def find(pictures: Sequence[Picture], finder: Finder, classes: Collection[int]) -> PseudoLabels:
    """Look for classes in the pictures that are not labelled for them.

    Args:
        pictures: labelled for some classes, or none.
        finder: the model.
        classes: to look for, by their numbers; the model knows them.
    """
    wanted = [picture for picture in pictures if not picture.labelled.issuperset(classes)]
    found = finders.find_in(wanted, finder)
    return PseudoLabels(
        frozenset(classes),
        {
            picture.name: _rows(each, frozenset(classes) - picture.labelled)
            for picture, each in zip(wanted, found, strict=True)
        },
    )


def _rows(found: Found, classes: Collection[int]) -> list[list[float]]:
    return [
        [index, *(round(float(value), 4) for value in row)]
        for index, rows in found.items()
        if index in classes
        for row in rows
    ]


def with_labels(picture: Picture, found: PseudoLabels, *, unsure: float, sure: float) -> Picture:
    """Return a picture with what a model found in it as labels, and as places where nothing is known.

    Args:
        picture: labelled for some classes.
        found: in it and others; a picture that was not looked at stays as it is.
        unsure: what scores less is nothing.
        sure: what scores more is a label.
    """
    if picture.name not in found.boxes:
        return picture
    rows = np.array(found.boxes[picture.name], np.float32).reshape(-1, 6)
    rows = rows[~np.isin(rows[:, 0], list(picture.labelled))]
    labels = rows[rows[:, 5] > sure, :5]
    between = rows[(rows[:, 5] > unsure) & (rows[:, 5] <= sure), :5]
    return replace(
        picture,
        boxes=np.concatenate([picture.boxes, labels]),
        unsure=np.concatenate([picture.unsure, between]),
        labelled=picture.labelled | found.classes,
    )


def read(path: Path) -> PseudoLabels:
    """Return what was written.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        written: dict[str, Any] = json.loads(path.read_text())
        classes = frozenset(CLASSES.index(name) for name in written["classes"])
        return PseudoLabels(classes, written["boxes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"--pseudo-labels {path}: cannot be read ({type(error).__name__}: {error}); make it with python -m "
            "training.pseudo_labels"
        ) from error


def _classes(asked: Sequence[str] | None, known: Collection[str]) -> list[int]:
    """Return the numbers of the classes to look for: those that were asked for, or all that the model knows.

    Raises:
        TrainingError: the model does not know them, so that to find none would say nothing.
    """
    names = [name for name in CLASSES if name in (known if asked is None else asked)]
    unknown = set(names) - set(known)
    if unknown or not names:
        raise TrainingError(
            f"the model knows no {' and no '.join(sorted(unknown) or CLASSES)}, only {', '.join(sorted(known))}; give "
            "--classes that it knows, or other weights"
        )
    return [CLASSES.index(name) for name in names]


def main() -> int:
    """Find pseudo labels in the training pictures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.pseudo_labels", description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the shards")
    parser.add_argument(
        "--size", type=int, default=416, help="longest side of the input, in pixels"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        choices=CLASSES,
        help="to look for, in pictures that are not labelled for them; by default all that the model knows",
    )
    parser.add_argument("--pictures", type=int, help="of each group (person, face, both), at most")
    options = parser.parse_args()
    try:
        model = networks.model(options.weights)
        classes = _classes(options.classes, model.names.values())
        finder = finders.ultralytics(model, options.size, networks.device())
        pictures = data.load(options.data, "train", options.pictures)
        found = find(pictures, finder, classes)
        found.write(options.out)
    except (TrainingError, OSError) as error:
        print(f"training.pseudo_labels: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.out}: {sum(map(len, found.boxes.values()))} boxes in {len(found.boxes)} pictures"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
