"""Average the weights of a network before and after more training.

    python -m training.average FIRST.pt SECOND.pt OUT.pt [--share 0.5]

Between weights that share most of their training, the average often finds more than either (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", https://arxiv.org/abs/2109.01903).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from training import networks
from training.errors import TrainingError


def average(first: Any, second: Any, share: float) -> None:
    """Move a network's weights, and what it has averaged of its inputs, towards another's.

    Args:
        first: is changed.
        second: of the same architecture.
        share: of the second, in [0, 1].

    Raises:
        TrainingError: their layers differ.
    """
    others = second.state_dict()
    ours = first.state_dict()
    if {name: value.shape for name, value in ours.items()} != {
        name: value.shape for name, value in others.items()
    }:
        raise TrainingError("the two weights are of different architectures; give two of one run")
    with torch.no_grad():
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(others[name], share)


def main() -> int:
    """Average; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second, in [0, 1] (0.5)")
    options = parser.parse_args()
    try:
        if not 0 <= options.share <= 1:
            raise TrainingError("--share: give a share in [0, 1]")
        first, second = networks.read(options.first), networks.read(options.second)
        average(first, second, options.share)
        networks.write(first, options.out, networks.own_size(first))
    except (TrainingError, OSError) as error:
        print(f"training.average: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
