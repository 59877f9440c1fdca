"""Ultralytics' detection losses, blind where nothing is known of a class."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

#: How much the one-to-many head counts at the start and at the end (Ultralytics 8.4, ``E2ELoss``).
_ONE_TO_MANY: Final = (0.8, 0.1)


class MaskedLoss(v8DetectionLoss):
    """The loss of a detection head, whose class part counts only where the class is known."""

    def loss(self, preds: dict[str, Any], batch: dict[str, Any]) -> Any:
        """Return box, class and distribution loss, multiplied by the batch's size, and the items for a log."""
        sides = [tuple(level.shape[2:]) for level in preds["feats"]]
        self.class_weights = anchor_weights(batch["known"], sides).to(preds["scores"].dtype)
        return super().loss(preds, batch)


def anchor_weights(known: torch.Tensor, levels: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Return for each anchor and class whether the class is known there.

    Args:
        known: shape (batch, classes, height / 4, width / 4).
        levels: height and width of each of the head's levels, in cells.

    Returns:
        Shape (batch, anchors, classes), in the order of Ultralytics' anchors.
    """
    parts = []
    for height, _ in levels:
        step = known.shape[2] // height  # of a cell, in steps of `known`; its centre is at the half
        parts.append(known[:, :, step // 2 :: step, step // 2 :: step].flatten(2))
    return torch.cat(parts, dim=2).transpose(1, 2)


def criterion(network: Any) -> Any:
    """Return the loss that suits a network's heads: of one, or of two where it needs no NMS.

    Called with what the network answers in training and a batch; returns the three losses and items.
    """
    if getattr(network.model[-1], "one2one_cv2", None) is None:
        return MaskedLoss(network)
    return E2ELoss(network, MaskedLoss)


def set_progress(loss: Any, progress: float) -> None:
    """Move the weight of an end-to-end network's two heads from the one to the other; others have one.

    Args:
        loss: as `criterion` returns it.
        progress: of the run, in [0, 1].
    """
    if isinstance(loss, E2ELoss):
        start, end = _ONE_TO_MANY
        loss.o2m = start + (end - start) * progress
        loss.o2o = 1 - loss.o2m
