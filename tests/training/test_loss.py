"""What nothing is known of teaches nothing."""

from typing import Any

import pytest
import torch

from tests.training import shards
from training import loss, networks
from training.augmentation import Augmentation
from training.samples import Plan, batches

SIDE = 64
PLAN = Plan(
    seed=0,
    batch=1,
    side=SIDE,
    multi_scale=0,
    augmentation=Augmentation(mosaic=0, single_scale=(1, 1)),
)


def gradients(architecture: str, labelled: frozenset[int], *boxes: tuple[float, ...]) -> Any:
    """Return for each head the gradient of its scores, shape (1, classes, anchors)."""
    network = networks.create(architecture)
    picture = shards.picture(labelled, *boxes, width=SIDE, height=SIDE)
    (batch,) = batches([picture], PLAN, 0, 1, 0)
    answers = network.train()(batch["img"].float() / 255)
    heads = [answers] if "scores" in answers else [answers["one2many"], answers["one2one"]]
    for head in heads:
        head["scores"].retain_grad()
    losses, _ = loss.criterion(network)(answers, batch)
    losses.sum().backward()
    return [head["scores"].grad for head in heads]


@pytest.mark.parametrize("architecture", ["yolo11n.yaml", "yolo26n.yaml"])
@pytest.mark.parametrize("labelled", [0, 1])
def test_a_class_that_is_not_labelled_gets_no_gradient(architecture: str, labelled: int) -> None:
    """The other one does, with a box and without."""
    for boxes in ([], [(labelled, 8, 8, 56, 56)]):
        for gradient in gradients(architecture, frozenset({labelled}), *boxes):
            assert gradient[0, labelled].abs().min() > 0
            assert not gradient[0, 1 - labelled].any()


def test_a_picture_that_is_labelled_for_both_teaches_both() -> None:
    """That nobody is there."""
    (gradient,) = gradients("yolo11n.yaml", frozenset({0, 1}))
    assert (gradient > 0).all()


def test_anchors_count_by_their_centres() -> None:
    """On each level; here nothing is known of class 1 in the left quarter of 64 pixels."""
    known = torch.ones(1, 2, 16, 16, dtype=torch.uint8)
    known[:, 1, :, :4] = 0
    weights = loss.anchor_weights(known, [(8, 8), (4, 4), (2, 2)])
    assert weights.shape == (1, 64 + 16 + 4, 2)
    assert weights[..., 0].all()
    by_level = torch.tensor_split(weights[0, :, 1], (64, 80))
    assert by_level[0].view(8, 8).tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]] * 8
    assert by_level[1].view(4, 4).tolist() == [[0, 1, 1, 1]] * 4
    assert by_level[2].view(2, 2).tolist() == [[1, 1]] * 2  # centres at 16 and 48


def test_an_end_to_end_network_moves_from_one_head_to_the_other() -> None:
    """By the run's progress, which other losses do not care for."""
    two = loss.criterion(networks.create("yolo26n.yaml"))
    loss.set_progress(two, 0.0)
    assert (two.o2m, round(two.o2o, 3)) == (0.8, 0.2)
    loss.set_progress(two, 1.0)
    assert (round(two.o2m, 3), round(two.o2o, 3)) == (0.1, 0.9)
    one = loss.criterion(networks.create("yolo11n.yaml"))
    loss.set_progress(one, 1.0)
    assert not hasattr(one, "o2m")
