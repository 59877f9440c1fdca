"""Shift a model's scores so that 0.5 is each class's threshold with the best F1.

    python -m training.calibrate WEIGHTS.pt OUT.pt [--data FOLDER]

The shift is folded into the biases of the last layers that score classes, so that the weights, what is exported
of them, and every engine agree. Measured on the validation pictures with Ultralytics' `predict`, rectangular.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from training import data, finders, networks
from training.accuracy import Optimum, hits, logit
from training.data import CLASSES, Picture
from training.errors import TrainingError


def calibrate(
    network: Any, pictures: Sequence[Picture], size: int, device: str = "cpu"
) -> dict[str, Optimum]:
    """Calibrate each head of a network.

    Args:
        network: is changed.
        pictures: labelled.
        size: the longest side of the input, in pixels.
        device: as PyTorch names it.

    Returns:
        For each class what the threshold with the best F1 was until now, with the head that `predict` uses.

    Raises:
        TrainingError: a class is nowhere found, so that there is nothing to choose a threshold by.
    """
    usual = bool(network.end2end)
    optima: dict[bool, dict[str, Optimum]] = {}
    layers = networks.class_layers(network)
    for end_to_end, head in enumerate(layers):
        network.end2end = bool(end_to_end)
        optima[bool(end_to_end)] = best = _best(network, pictures, size, device)
        shift(head, best)
    network.end2end = usual
    return optima[usual]


def shift(layers: Sequence[Any], best: Mapping[str, Optimum]) -> None:
    """Move biases so that what scored a class's best threshold scores 0.5.

    Args:
        layers: the last ones that score classes; are changed.
        best: of each class.
    """
    with torch.no_grad():
        for layer in layers:
            for index, name in enumerate(CLASSES):
                layer.bias[index] -= logit(best[name].threshold)


def _best(network: Any, pictures: Sequence[Picture], size: int, device: str) -> dict[str, Optimum]:
    finder = finders.ultralytics(networks.wrapped(network), size, device)
    found = finders.find_in(pictures, finder)
    best = {}
    for index, name in enumerate(CLASSES):
        optimum = hits(pictures, found, index).best()
        if optimum is None:
            raise TrainingError(
                f"the model finds no {name} that is labelled, so there is no best threshold; train it for longer, "
                "or give more validation pictures"
            )
        best[name] = optimum
    return best


def main() -> int:
    """Calibrate; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the shards")
    parser.add_argument(
        "--size",
        type=int,
        help="longest side of the input that it is to be for, in pixels; by default what it is for now",
    )
    parser.add_argument("--pictures", type=int, help="of each group (person, face, both), at most")
    options = parser.parse_args()
    try:
        network = networks.read(options.weights)
        size = options.size or networks.own_size(network)
        pictures = data.load(options.data, "val", options.pictures)
        for name, best in calibrate(network, pictures, size, networks.device()).items():
            print(f"{name}: best F1 {best.f1:.3f} was at {best.threshold:.3f}, is at 0.5 now")
        networks.write(network, options.out, size)
    except (TrainingError, OSError) as error:
        print(f"training.calibrate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
