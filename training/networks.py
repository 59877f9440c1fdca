"""Ultralytics' networks: made, read and written; offline, installing nothing, leaving nothing in the home."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

# Ultralytics reads these when it is imported.
_CONFIG: Final = tempfile.mkdtemp(prefix="ultralytics-")
atexit.register(shutil.rmtree, _CONFIG, ignore_errors=True)
for _name, _value in {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "YOLO_CONFIG_DIR": _CONFIG,
}.items():
    os.environ.setdefault(_name, _value)

import torch  # noqa: E402 - after the environment is as it must be
import ultralytics  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.models import YOLO  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from detector_service.builds import weights  # noqa: E402
from detector_service.builds.export import check_archive  # noqa: E402
from detector_service.errors import ModelError  # noqa: E402
from training.data import CLASSES  # noqa: E402
from training.errors import TrainingError  # noqa: E402

logging.getLogger("ultralytics").setLevel(logging.WARNING)

_NAMES: Final[Mapping[int, str]] = dict(enumerate(CLASSES))


def create(architecture: str, start: Path | None = None) -> Any:
    """Return a network for this project's classes, with what Ultralytics' losses read of it.

    Args:
        architecture: the name of Ultralytics' file that describes it: "yolo11n.yaml".
        start: weights (.pt) whose layers are taken over where their shapes agree; None starts from chance.

    Raises:
        TrainingError: there is no such architecture, or the weights cannot be loaded.
    """
    make: Any = DetectionModel
    try:
        network = make(architecture, nc=len(CLASSES), verbose=False)
    except FileNotFoundError as error:
        raise TrainingError(
            f"--architecture {architecture}: Ultralytics has no such file; try yolo11n.yaml, yolo12n.yaml or yolo26n.yaml"
        ) from error
    if start is not None:
        network.load(read(start), verbose=False)
    network.names = dict(_NAMES)
    network.args = get_cfg()
    return network


def read(path: Path) -> Any:
    """Return the network of weights (.pt) as Ultralytics' training writes them, at 32 bits.

    Raises:
        TrainingError: they cannot be loaded, or hold code of their own.
    """
    return model(path).model.float()


def model(path: Path) -> Any:
    """Return Ultralytics' model of weights (.pt), loaded without running code that they may carry.

    Raises:
        TrainingError: they cannot be loaded, or hold code of their own.
    """
    try:
        check_archive(path)
        with tempfile.TemporaryDirectory(prefix="crowd-training-") as workplace:
            return weights.load(path, None, Path(workplace), allow_unsafe=False)
    except (ModelError, OSError) as error:
        raise TrainingError(str(error)) from error


def device() -> str:
    """Return where networks run here, as PyTorch names it."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wrapped(network: Any) -> Any:
    """Return Ultralytics' model around a copy of a network, to predict with."""
    around: Any = YOLO(network.yaml["yaml_file"], task="detect")
    around.model = deepcopy(network).float().eval()
    return around


def write(network: Any, path: Path, size: int) -> None:
    """Write weights as Ultralytics' training does, at 16 bits.

    Args:
        network: is left as it is.
        path: of the file; it appears whole, or not at all.
        size: the longest side of the input that the model is for, in pixels.
    """
    copy = deepcopy(network).cpu().eval().half()
    copy.names, copy.task = dict(_NAMES), "detect"
    copy.args = {"imgsz": size, "task": "detect"}
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    content = {
        "model": copy,
        "ema": None,
        "train_args": copy.args,
        "date": datetime.now(UTC).isoformat(),
        "version": ultralytics.__version__,
        "license": "AGPL-3.0",
    }
    half_written = path.with_suffix(".part")
    torch.save(content, half_written)
    half_written.replace(path)


def own_size(network: Any) -> int:
    """Return the longest side of the input that weights which were read are for, in pixels."""
    return int(network.args["imgsz"])


def class_layers(network: Any) -> list[list[Any]]:
    """Return the last layer of each level of each head that scores classes; the one-to-many head first."""
    head = network.model[-1]
    branches = [head.cv3]
    if getattr(head, "one2one_cv3", None) is not None:
        branches.append(head.one2one_cv3)
    return [[level[-1] for level in branch] for branch in branches]
