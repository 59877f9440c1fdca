"""How far a run is, and what that means for the learning rate and the samples; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from training.errors import TrainingError
from training.samples import STRIDE

#: Of the run, during which the learning rate rises.
_WARM_UP: Final = 0.02
#: The learning rate at the end, of the highest.
_LAST: Final = 0.02


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run.

    Attributes:
        side: of samples, in pixels.
        share: of the run, in (0, 1].
    """

    side: int
    share: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may take: time, or epochs. With epochs two runs do the same, with time they learn for as long.

    Attributes:
        seconds: of training and evaluating.
        epochs: of training.
    """

    seconds: float | None = None
    epochs: int | None = None

    @classmethod
    def of(cls, minutes: float | None, epochs: int | None) -> Self:
        """Return the budget of two options.

        Raises:
            TrainingError: not exactly one of them was given, or it is nothing.
        """
        if (minutes is None) == (epochs is None) or (minutes or epochs or 0) <= 0:
            raise TrainingError("--minutes or --epochs: give one of them, and more than 0")
        return cls(None if minutes is None else minutes * 60, epochs)

    def progress(self, seconds: float, epochs: float) -> float:
        """Return how far a run is, in [0, 1], that has taken so much."""
        done = seconds / self.seconds if self.seconds else epochs / (self.epochs or 1)
        return min(done, 1.0)


def learning_rate(highest: float, progress: float) -> float:
    """Return the learning rate: a straight rise, then half a cosine's fall to 2 % (SGDR, arXiv:1608.03983).

    Args:
        highest: the largest.
        progress: of the run, in [0, 1].
    """
    if progress < _WARM_UP:
        return highest * max(progress / _WARM_UP, 0.01)
    fallen = (progress - _WARM_UP) / (1 - _WARM_UP)
    return highest * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * fallen)) / 2)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Read stages: "320:0.6,416:0.4" is 60 % of the run at 320 pixels, then 40 % at 416.

    Raises:
        TrainingError: it is something else, the shares do not add up to 1, or a side is no multiple of 32.
    """
    try:
        stages = tuple(
            Stage(int(side), float(share))
            for side, share in (part.split(":") for part in text.split(","))
        )
    except ValueError as error:
        raise TrainingError(
            f"--stages {text}: give SIDE:SHARE, separated by commas, as in 320:0.6,416:0.4"
        ) from error
    if any(stage.side < STRIDE or stage.side % STRIDE for stage in stages):
        raise TrainingError(f"--stages {text}: sides are multiples of {STRIDE} pixels")
    if any(stage.share <= 0 for stage in stages) or not math.isclose(
        sum(stage.share for stage in stages), 1, abs_tol=1e-3
    ):
        raise TrainingError(f"--stages {text}: shares are more than 0, and add up to 1")
    return stages


def stage_at(stages: Sequence[Stage], progress: float) -> Stage:
    """Return the stage that a run is in.

    Args:
        stages: of the whole run.
        progress: in [0, 1].
    """
    end = 0.0
    for stage in stages:
        end += stage.share
        if progress < end:
            return stage
    return stages[-1]


def mosaic_at(mosaic: float, closing: float, progress: float) -> float:
    """Return the probability of mosaics: none in the last part of a run, where pictures are as in use.

    Args:
        mosaic: until then.
        closing: the share of the run without them.
        progress: in [0, 1].
    """
    return mosaic if progress < 1 - closing else 0.0
