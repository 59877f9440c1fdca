"""Export weights to ONNX as the project ships them: any input size, 32 bits, Ultralytics' metadata.

python -m training.export WEIGHTS.pt    # writes WEIGHTS.onnx beside it
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from training import networks
from training.errors import TrainingError

#: Of the operators; OpenVINO and ONNX Runtime have known it for years.
_OPSET: Final = 17


def export(weights: Path, size: int | None = None) -> Path:
    """Write the ONNX file beside the weights, and return it.

    Args:
        weights: a .pt file.
        size: the longest side of the input that the model is for, in pixels, though it takes others too; None leaves it.

    Raises:
        TrainingError: the weights cannot be loaded.
    """
    network = networks.read(weights)
    model = networks.wrapped(network)
    model.ckpt_path = model.model.pt_path = str(weights)  # names what is written
    made = model.export(
        format="onnx",
        imgsz=size or networks.own_size(network),
        dynamic=True,
        simplify=True,
        opset=_OPSET,
        device="cpu",
    )
    return Path(made)


def main() -> int:
    """Export; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--size",
        type=int,
        help="longest side of the input that it is to be for, in pixels; by default what it is for now",
    )
    options = parser.parse_args()
    try:
        print(export(options.weights, options.size))
    except (TrainingError, OSError) as error:
        print(f"training.export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
