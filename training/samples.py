"""The samples of an epoch, each a pure function of the seed and its number: so a run can go on anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from training.augmentation import Augmentation, Sample, compose
from training.data import Picture

#: The model's coarsest stride; sides of samples are multiples of it, in pixels.
STRIDE: Final = 32
#: What is known of a class is told for every fourth pixel: the centres of all of the model's cells are among them.
KNOWN_STEP: Final = 4

#: Keeps sizes apart from what is drawn for samples.
_SIZES: Final = 1
_SAMPLES: Final = 2
_ORDER: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What samples an epoch is made of.

    Attributes:
        seed: of all chance.
        batch: samples in a batch.
        side: of a sample, in pixels.
        multi_scale: each batch's side is within this share of it: 0.5 takes 416 to 208 ... 624.
        augmentation: how much pictures are changed.
    """

    seed: int
    batch: int
    side: int
    multi_scale: float
    augmentation: Augmentation

    def side_of(self, number: int) -> int:
        """Return the side of the samples of a batch, in pixels, by the batch's number in the run."""
        random = np.random.default_rng((self.seed, _SIZES, number))
        side = self.side * random.uniform(1 - self.multi_scale, 1 + self.multi_scale)
        return max(round(side / STRIDE), 1) * STRIDE


class Samples(Dataset[dict[str, Any]]):
    """All samples of a run, by their numbers."""

    def __init__(self, pictures: Sequence[Picture], plan: Plan) -> None:
        self._pictures: Final = pictures
        self._plan: Final = plan

    def __getitem__(self, number: int) -> dict[str, Any]:
        plan, count = self._plan, len(self._pictures)
        order = _order(plan.seed, number // count, count)
        sample = compose(
            self._pictures[order[number % count]],
            self._pictures,
            plan.side_of(number // plan.batch),
            plan.augmentation,
            np.random.default_rng((plan.seed, _SAMPLES, number)),
        )
        return _tensors(sample)


def batches(
    pictures: Sequence[Picture], plan: Plan, first: int, count: int, workers: int
) -> Iterator[dict[str, Any]]:
    """Give batches as Ultralytics' losses take them, and with "known".

    Args:
        pictures: what samples are made of.
        plan: how.
        first: the number of the first batch in the run.
        count: of batches.
        workers: processes that make them beforehand; 0 makes each when it is asked for.

    Returns:
        "img", shape (batch, 3, side, side), uint8, red-green-blue; "cls", "bboxes", "batch_idx" of all
        boxes; "known", shape (batch, classes, side / 4, side / 4), uint8.
    """
    cv2.setNumThreads(0)  # workers are enough, and OpenCV's threads do not survive a fork
    numbers = [
        list(range(batch * plan.batch, (batch + 1) * plan.batch))
        for batch in range(first, first + count)
    ]
    loader: DataLoader[dict[str, Any]] = DataLoader(
        Samples(pictures, plan),
        batch_sampler=numbers,
        collate_fn=_collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # Forked, they share the decoded pictures' memory; another way would send them all.
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


@lru_cache(maxsize=2)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    """Return in which order pictures come, the turn-th time round."""
    return np.random.default_rng((seed, _ORDER, turn)).permutation(count)


def _tensors(sample: Sample) -> dict[str, Any]:
    corners = sample.boxes[:, 1:] / sample.side
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return {
        "img": torch.from_numpy(np.stack(cv2.split(sample.pixels)[::-1])),
        "known": torch.from_numpy(
            np.ascontiguousarray(sample.known[::KNOWN_STEP, ::KNOWN_STEP].transpose(2, 0, 1))
        ),
        "cls": torch.from_numpy(np.ascontiguousarray(sample.boxes[:, :1])),
        "bboxes": torch.from_numpy(np.column_stack([centres, sides]).astype(np.float32)),
    }


def _collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = torch.tensor([len(sample["cls"]) for sample in samples])
    return {
        "img": torch.stack([sample["img"] for sample in samples]),
        "known": torch.stack([sample["known"] for sample in samples]),
        "cls": torch.cat([sample["cls"] for sample in samples]),
        "bboxes": torch.cat([sample["bboxes"] for sample in samples]),
        "batch_idx": torch.arange(len(samples)).repeat_interleave(counts).float(),
    }
