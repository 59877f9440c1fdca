"""After calibration 0.5 is the threshold with the best F1."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training import photographs, shards
from training import calibrate, finders, networks
from training.accuracy import Hits, Optimum, hits, logit
from training.errors import TrainingError

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "crowd-n.pt"


@given(
    seed=st.integers(0, 1000),
    centre=st.floats(-4, 4),
    apart=st.floats(0.5, 3),
)
def test_shifted_scores_have_their_best_threshold_at_a_half(
    seed: int, centre: float, apart: float
) -> None:
    """Logits of hits and mistakes, wherever they lie: moved by the shift, 0.5 is the best that there is."""
    random = np.random.default_rng(seed)
    correct = random.random(300) < 0.5
    logits = random.normal(centre + np.where(correct, apart, -apart), 1.0).clip(-12, 12)

    def scored(moved: np.ndarray) -> Hits:
        return Hits(1 / (1 + np.exp(-moved)), correct, int(correct.sum()) + 20)

    best = scored(logits).best()
    assert best is not None
    layer: Any = torch.nn.Conv2d(1, 2, 1)
    before = layer.bias.detach().clone()
    calibrate.shift([layer], {"person": best, "face": Optimum(0.5, 1.0)})
    person, face = (layer.bias.detach() - before).tolist()
    assert face == 0
    after = scored(logits + person)
    precision, recall = after.at(0.5)
    assert precision is not None
    assert recall is not None
    assert 2 * precision * recall / (precision + recall) == pytest.approx(best.f1, abs=1e-6)
    again = after.best()
    assert again is not None
    assert abs(logit(again.threshold)) < 1e-3


@pytest.fixture(scope="module")
def labelled() -> photographs.Labelled:
    """Photographs with what the shipped weights find in them as labels, but for what scores little."""
    network = networks.read(SHIPPED)
    return photographs.labelled_by(finders.ultralytics(networks.wrapped(network), 416))


def test_a_shifted_network_is_shifted_back(labelled: photographs.Labelled) -> None:
    """Its scores are as calibrated again, also in the file that is written, and in each of its heads."""
    network = networks.read(SHIPPED)
    for layer in networks.class_layers(network)[0]:
        layer.bias.data += torch.tensor([1.0, -1.0])
    before = calibrate.calibrate(network, labelled, 416)
    assert before["person"].threshold > 0.55
    assert before["face"].threshold < 0.45
    found = finders.find_in(labelled, finders.ultralytics(networks.wrapped(network), 416))
    for index in (0, 1):
        best = hits(labelled, found, index).best()
        assert best is not None
        assert best.f1 == pytest.approx(1)
        assert hits(labelled, found, index).at(0.5) == (1, 1)


def test_a_network_that_finds_nothing_cannot_be_calibrated() -> None:
    """It is said of which class."""
    pictures = [shards.picture(frozenset({0, 1}), (0, 8, 8, 40, 40), (1, 8, 8, 20, 20))]
    with pytest.raises(TrainingError, match="finds no person that is labelled"):
        calibrate.calibrate(networks.create("yolo11n.yaml"), pictures, 64)


def test_each_head_is_shifted_by_what_it_finds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one that predicted does so afterwards; its thresholds are told."""
    network = networks.create("yolo26n.yaml")
    network.end2end = True
    one_to_many, one_to_one = networks.class_layers(network)
    before = [layer.bias.detach().clone() for layer in (*one_to_many, *one_to_one)]

    def best(asked: Any, *_given: Any) -> dict[str, Optimum]:
        return dict.fromkeys(("person", "face"), Optimum(0.2 if asked.end2end else 0.8, 0.9))

    monkeypatch.setattr(calibrate, "_best", best)
    told = calibrate.calibrate(network, [], 64)
    assert network.end2end
    assert told["face"].threshold == 0.2
    moved = [
        float((layer.bias.detach() - old)[0])
        for layer, old in zip((*one_to_many, *one_to_one), before, strict=True)
    ]
    np.testing.assert_allclose(moved, [-logit(0.8)] * 3 + [-logit(0.2)] * 3, rtol=1e-5)
