"""What a model finds teaches where it is sure, and nothing where it is not."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import shards
from training import data, networks, pseudo_labels
from training.data import Image
from training.errors import TrainingError
from training.pseudo_labels import PseudoLabels, with_labels

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "crowd-n.pt"
FACE = (1, 10.0, 10.0, 20.0, 20.0)
BOTH = frozenset({0, 1})


def test_sure_boxes_are_labels_and_unsure_ones_are_not() -> None:
    """What scores less is nothing; a class that is labelled stays as it is."""
    picture = shards.picture(frozenset({1}), FACE)
    rows = [
        [0, 0.0, 0.0, 10.0, 10.0, 0.9],
        [0, 20.0, 0.0, 30.0, 10.0, 0.5],
        [0, 40.0, 0.0, 50.0, 10.0, 0.1],
        [1, 40.0, 0.0, 50.0, 10.0, 0.9],
    ]
    taught = with_labels(picture, PseudoLabels(BOTH, {picture.name: rows}), unsure=0.2, sure=0.7)
    assert taught.labelled == {0, 1}
    assert taught.boxes.tolist() == [list(FACE), rows[0][:5]]
    assert taught.unsure.tolist() == [rows[1][:5]]


def test_a_picture_in_which_nothing_was_looked_for_stays_as_it_is() -> None:
    """That nothing was found in it is another thing: then nobody is there."""
    picture = shards.picture(frozenset({1}), FACE)
    assert with_labels(picture, PseudoLabels(BOTH, {}), unsure=0.2, sure=0.7) is picture
    nobody = PseudoLabels(BOTH, {picture.name: []})
    assert with_labels(picture, nobody, unsure=0.2, sure=0.7).labelled == {0, 1}


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
    assert found == PseudoLabels(BOTH, {"0": [[0, 1, 2, 3, 4, 0.5]], "1": [[1, 1, 2, 3, 4, 0.5]]})


def test_what_was_not_asked_for_stays_unknown() -> None:
    """Also in a picture that is labelled for nothing."""
    unlabelled = shards.picture(frozenset())
    people = replace(shards.picture(frozenset({0})), name="people")
    faces = replace(shards.picture(frozenset({1})), name="faces")

    def finder(_image: Image) -> dict[int, np.ndarray]:
        return {index: np.array([[1, 2, 3, 4, 0.9]], np.float32) for index in (0, 1)}

    found = pseudo_labels.find([unlabelled, people, faces], finder, [1])
    taught = [
        with_labels(each, found, unsure=0.2, sure=0.7) for each in (unlabelled, people, faces)
    ]
    assert [each.labelled for each in taught] == [{1}, {0, 1}, {1}]
    assert taught[0].boxes.tolist() == taught[1].boxes.tolist() == [[1, 1, 2, 3, 4]]
    assert taught[2] is faces


def test_the_command_writes_what_training_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the names that pictures have."""
    folder, out = shards.small_set(tmp_path, pictures=1), tmp_path / "found.json"
    given = ["pseudo_labels", str(SHIPPED), str(out), "--data", str(folder), "--size", "64"]
    monkeypatch.setattr(sys, "argv", given)
    assert pseudo_labels.main() == 0
    found = pseudo_labels.read(out)
    pictures = data.load(folder, "train")
    assert found.classes == BOTH
    assert set(found.boxes) == {each.name for each in pictures if len(each.labelled) == 1}
    monkeypatch.setattr(sys, "argv", [*given, "--classes", "face"])
    assert pseudo_labels.main() == 0
    found = pseudo_labels.read(out)
    assert found.classes == {1}
    assert set(found.boxes) == {each.name for each in pictures if each.labelled == {0}}


@pytest.mark.parametrize(
    "damaged", ['{"classes": ["face"], "bo', "[]", "{}", '{"classes": ["cat"]}']
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, damaged: str) -> None:
    """Half of one, too."""
    path = tmp_path / "found.json"
    path.write_text(damaged)
    with pytest.raises(TrainingError, match=r"--pseudo-labels .*found.json: cannot be read"):
        pseudo_labels.read(path)


def test_a_model_is_not_asked_for_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That it found none would teach that there are none."""
    network = networks.read(SHIPPED)
    network.names = {0: "person", 1: "helmet"}
    teacher = tmp_path / "teacher.pt"
    torch.save({"model": network.half(), "train_args": {}}, teacher)
    folder, out = shards.small_set(tmp_path, pictures=1), tmp_path / "found.json"
    given = ["pseudo_labels", str(teacher), str(out), "--data", str(folder), "--size", "64"]
    monkeypatch.setattr(sys, "argv", [*given, "--classes", "face"])
    assert pseudo_labels.main() == 1
    assert "the model knows no face, only helmet, person; give --classes" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(sys, "argv", given)
    assert pseudo_labels.main() == 0
    assert pseudo_labels.read(out).classes == {0}
