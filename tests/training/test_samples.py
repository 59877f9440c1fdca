"""A sample is a function of the seed and its number, whoever makes it and when."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests.conftest import ROOT
from tests.training import shards
from training.augmentation import Augmentation
from training.samples import Plan, batches

PLAN = Plan(seed=3, batch=2, side=64, multi_scale=0.0, augmentation=Augmentation())
PICTURES = [
    shards.picture(frozenset({0}), (0, 10, 10, 40, 40)),
    shards.picture(frozenset({1}), (1, 10, 10, 40, 40)),
    shards.picture(frozenset({0, 1})),
]


def equal(first: Iterator[dict[str, Any]], second: Iterator[dict[str, Any]]) -> bool:
    """Whether batches are the same, to the bit."""
    return all(
        torch.equal(mine[name], yours[name])
        for mine, yours in zip(first, second, strict=True)
        for name in mine
    )


def test_a_batch_is_what_the_losses_take() -> None:
    """Boxes in fractions of the sample, and what is known for every fourth pixel."""
    still = Augmentation(mosaic=0, single_scale=(1, 1), flip=0, grey=0, blur=0)
    plan = replace(PLAN, augmentation=still)
    (batch,) = batches([shards.picture(frozenset({0}), (0, 16, 0, 48, 48))], plan, 0, 1, 0)
    assert batch["img"].shape == (2, 3, 64, 64)
    assert batch["img"].dtype == torch.uint8
    assert batch["known"].shape == (2, 2, 16, 16)
    assert batch["batch_idx"].tolist() == [0, 1]
    assert batch["cls"].tolist() == [[0], [0]]
    np.testing.assert_allclose(batch["bboxes"][:, [0, 2, 3]], [[0.5, 0.5, 0.75]] * 2)


def test_a_run_can_go_on_anywhere() -> None:
    """The batches from the third on are those that would have come."""
    rest = list(batches(PICTURES, PLAN, 0, 4, 0))[2:]
    assert equal(iter(rest), batches(PICTURES, PLAN, 2, 2, 0))
    assert not equal(iter(rest), batches(PICTURES, replace(PLAN, seed=4), 2, 2, 0))


def test_workers_make_the_same_samples() -> None:
    """In the same order; in a process of its own, for what the other tests imported does not like forks."""
    code = "from tests.training.test_samples import *; assert equal(*(batches(PICTURES, PLAN, 0, 3, workers) for workers in (0, 2)))"
    path = os.pathsep.join(["protos", "clients/python", "."])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_brings_nothing_that_does_not_like_forks() -> None:
    """gRPC, above all."""
    code = "import sys, training.train; assert 'grpc' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_each_picture_comes_once_in_each_turn() -> None:
    """Before any of them comes again."""
    still = Augmentation(
        mosaic=0, single_scale=(1, 1), flip=0, hue=0, saturation=0, brightness=0, grey=0, blur=0
    )
    plain = [
        shards.picture(frozenset({0}), (0, 0, 0, 8 * (number + 1), 64), width=64, height=64)
        for number in range(4)
    ]
    plan = replace(PLAN, augmentation=still)
    widths = [
        int(width * 8) for batch in batches(plain, plan, 0, 6, 0) for width in batch["bboxes"][:, 2]
    ]
    turns = [widths[place : place + 4] for place in (0, 4, 8)]
    assert [sorted(turn) for turn in turns] == [[1, 2, 3, 4]] * 3
    assert len({tuple(turn) for turn in turns}) > 1


def test_sides_vary_from_batch_to_batch_and_not_within() -> None:
    """They are multiples of the stride, within the share that was given."""
    plan = replace(PLAN, side=416, multi_scale=0.5)
    sides = [plan.side_of(number) for number in range(200)]
    assert min(sides) >= 208
    assert max(sides) <= 624
    assert len(set(sides)) == 13
    assert not any(side % 32 for side in sides)
    assert {PLAN.side_of(number) for number in range(20)} == {64}
