"""What is served: one model for faces and bodies, or one for each."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.children import ROOT

EMBEDDED: Final = "embedded"
TWO_MODELS: Final = "two models"

_SHIPPED: Final = ROOT / "models"


@dataclass(frozen=True, slots=True)
class Setup:
    """Files of the same weights, for this service and for those that run Ultralytics.

    Attributes:
        name: of the set-up.
        face, body: models as the service takes them; the same file where one serves both.
        face_weights, body_weights: the same for Ultralytics.
    """

    name: str
    face: Path
    body: Path
    face_weights: Path
    body_weights: Path


def make(folder: Path) -> dict[str, Setup]:
    """Return the set-ups; the files of two models are put into a folder.

    Both of the two models have the weights that ship with the service: what a frame costs depends on the
    architecture, and what is found stays comparable.
    """
    onnx, weights = _SHIPPED / "crowd-n.onnx", _SHIPPED / "crowd-n.pt"
    copies = {
        (role, path.suffix): Path(shutil.copyfile(path, folder / f"{role}{path.suffix}"))
        for role in ("face", "body")
        for path in (onnx, weights)
    }
    return {
        EMBEDDED: Setup(EMBEDDED, onnx, onnx, weights, weights),
        TWO_MODELS: Setup(
            TWO_MODELS,
            copies["face", ".onnx"],
            copies["body", ".onnx"],
            copies["face", ".pt"],
            copies["body", ".pt"],
        ),
    }
