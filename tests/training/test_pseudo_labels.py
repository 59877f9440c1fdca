"""What a model finds teaches where it is sure, and nothing where it is not."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training import shards
from training import data, pseudo_labels
from training.data import Image
from training.errors import TrainingError
from training.pseudo_labels import with_labels

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "crowd-n.pt"
FACE = (1, 10.0, 10.0, 20.0, 20.0)


def test_sure_boxes_are_labels_and_unsure_ones_are_not() -> None:
    """What scores less is nothing; a class that is labelled stays as it is."""
    picture = shards.picture(frozenset({1}), FACE)
    rows = [
        [0, 0.0, 0.0, 10.0, 10.0, 0.9],
        [0, 20.0, 0.0, 30.0, 10.0, 0.5],
        [0, 40.0, 0.0, 50.0, 10.0, 0.1],
        [1, 40.0, 0.0, 50.0, 10.0, 0.9],
    ]
    taught = with_labels(picture, {picture.name: rows}, unsure=0.2, sure=0.7)
    assert taught.labelled == {0, 1}
    assert taught.boxes.tolist() == [list(FACE), rows[0][:5]]
    assert taught.unsure.tolist() == [rows[1][:5]]


def test_a_picture_in_which_nothing_was_looked_for_stays_as_it_is() -> None:
    """That nothing was found in it is another thing: then nobody is there."""
    picture = shards.picture(frozenset({1}), FACE)
    assert with_labels(picture, {}, unsure=0.2, sure=0.7) is picture
    assert with_labels(picture, {picture.name: []}, unsure=0.2, sure=0.7).labelled == {0, 1}


def test_only_classes_that_are_not_labelled_are_looked_for() -> None:
    """In the pictures that lack one."""
    pictures = [
        shards.picture(frozenset({group for group in (0, 1) if group != lacking}))
        for lacking in (0, 1, 2)
    ]
    for number, picture in enumerate(pictures):
        object.__setattr__(picture, "name", str(number))

    def finder(_image: Image) -> dict[int, np.ndarray]:
        return {index: np.array([[1, 2, 3, 4, 0.5]], np.float32) for index in (0, 1)}

    found = pseudo_labels.find(pictures, finder, [0, 1])
    assert found == {"0": [[0, 1, 2, 3, 4, 0.5]], "1": [[1, 1, 2, 3, 4, 0.5]]}
    assert pseudo_labels.find(pictures, finder, [1]) == {"1": [[1, 1, 2, 3, 4, 0.5]]}


def test_the_command_writes_what_training_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the names that pictures have."""
    folder, out = shards.small_set(tmp_path, pictures=1), tmp_path / "found.json"
    given = [str(SHIPPED), str(out), "--data", str(folder), "--size", "64"]
    monkeypatch.setattr(sys, "argv", ["pseudo_labels", *given])
    assert pseudo_labels.main() == 0
    found = pseudo_labels.read(out)
    names = {each.name for each in data.load(folder, "train") if len(each.labelled) == 1}
    assert set(found) == names
    out.write_text(json.dumps(found)[:-3])
    with pytest.raises(TrainingError, match=r"--pseudo-labels .*cannot be read"):
        pseudo_labels.read(out)
