"""What a model finds of the classes that pictures are not labelled for, to learn from.

    python -m training.pseudo_labels WEIGHTS.pt OUT.json [--data FOLDER] [--size 640]

`training.train --pseudo-labels OUT.json` takes what scores more than --sure for labels, what scores less than
--unsure for nothing, and what is between for unknown (as in "soft teacher" methods, arXiv:2106.09018, with two
hard thresholds). A class that the model was not asked for stays unknown everywhere.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training import data, finders, networks
from training.accuracy import Found
from training.data import CLASSES, Picture
from training.errors import TrainingError
from training.finders import Finder


def find(
    pictures: Sequence[Picture], finder: Finder, classes: Collection[int]
) -> dict[str, list[list[float]]]:
    """Return for each picture's name what is found of the classes that it is not labelled for.

    Args:
        pictures: in which to look; those that are not labelled for one of the classes are.
        finder: the model.
        classes: to look for, by their numbers.

    Returns:
        Rows of class, x1, y1, x2, y2 in pixels, confidence.
    """
    wanted = [picture for picture in pictures if not picture.labelled.issuperset(classes)]
    return {
        picture.name: _rows(picture, found)
        for picture, found in zip(wanted, finders.find_in(wanted, finder), strict=True)
    }


def _rows(picture: Picture, found: Found) -> list[list[float]]:
    return [
        [index, *(round(float(value), 4) for value in row)]
        for index, rows in found.items()
        if index not in picture.labelled
        for row in rows
    ]


def with_labels(
    picture: Picture, found: Mapping[str, Sequence[Sequence[float]]], *, unsure: float, sure: float
) -> Picture:
    """Return a picture with what a model found in it as labels, and as places where nothing is known.

    Args:
        picture: labelled for some classes.
        found: as `find` returns it; a picture that is not in it stays as it is.
        unsure: what scores less is nothing.
        sure: what scores more is a label.
    """
    if picture.name not in found:
        return picture
    rows = np.array(found[picture.name], np.float32).reshape(-1, 6)
    rows = rows[~np.isin(rows[:, 0], list(picture.labelled))]
    labels = rows[rows[:, 5] > sure, :5]
    between = rows[(rows[:, 5] > unsure) & (rows[:, 5] <= sure), :5]
    return replace(
        picture,
        boxes=np.concatenate([picture.boxes, labels]),
        unsure=np.concatenate([picture.unsure, between]),
        labelled=frozenset(range(len(CLASSES))),
    )


def read(path: Path) -> dict[str, Any]:
    """Return what `find` found, from a file.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"--pseudo-labels {path}: cannot be read ({error}); make it with python -m training.pseudo_labels"
        ) from error
    return found


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
        default=CLASSES,
        help="look for these only, in pictures that are not labelled for them",
    )
    parser.add_argument("--pictures", type=int, help="of each group (person, face, both), at most")
    options = parser.parse_args()
    try:
        model = networks.model(options.weights)
        finder = finders.ultralytics(model, options.size, networks.device())
        pictures = data.load(options.data, "train", options.pictures)
        classes = [CLASSES.index(name) for name in options.classes]
        found = find(pictures, finder, classes)
        options.out.write_text(json.dumps(found) + "\n")
    except (TrainingError, OSError) as error:
        print(f"training.pseudo_labels: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {sum(map(len, found.values()))} boxes in {len(found)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
