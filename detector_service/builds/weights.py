"""Weights as Ultralytics' training writes them, loaded without running code that they may carry.

Imported where PyTorch is wanted only: by the exporting process, and by the engine that runs PyTorch.
"""

import hashlib
import os
import pickle
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from detector_service.errors import ModelError


def load(weights: Path, content: str | None, workplace: Path, *, allow_unsafe: bool) -> Any:
    """Return Ultralytics' model of a .pt file, for detection.

    What is hashed is what is loaded: a copy that nobody else can change meanwhile.

    Args:
        weights: the file.
        content: the SHA-256 that it must have; None takes any.
        workplace: a folder of this process alone, for the copy and for what Ultralytics writes down.
        allow_unsafe: whether weights may be loaded that run code of their own.

    Raises:
        ModelError: it changed, is damaged, holds more than a model, or does not detect.
        OSError: it cannot be read, or copied.
    """
    data = weights.read_bytes()
    if content not in (None, hashlib.sha256(data).hexdigest()):
        raise ModelError(
            f"{weights}: the file changed while it was read; start again once it is written"
        )
    copy = (
        workplace / "weights.pt"
    )  # its name says nothing, for Ultralytics reads things into names
    copy.write_bytes(data)
    make = _ultralytics(weights, workplace, allow_unsafe=allow_unsafe)
    try:
        model = make(copy)
    except Exception as error:
        if not allow_unsafe and isinstance(error.__cause__, pickle.UnpicklingError):
            raise ModelError(
                f"{weights}: it holds more than a model, and loading it could run code of whoever made it "
                f"({_asked_for(error.__cause__)}); if you trust it as you trust a program, set "
                "ALLOW_UNSAFE_MODELS=true"
            ) from error
        raise ModelError(
            f"{weights}: Ultralytics cannot load it ({brief(error).replace(str(copy), weights.name)}); give the .pt "
            "that its training wrote"
        ) from error
    if model.task != "detect":
        raise ModelError(
            f"{weights}: a model for the task '{model.task}'; a detection model (task 'detect') is needed"
        )
    return model


def read_metadata(weights: Path, content: str, *, allow_unsafe: bool) -> dict[str, str]:
    """Return `metadata` of weights that are not to be run.

    Raises:
        ModelError: as `load` does.
        OSError: likewise.
    """
    with tempfile.TemporaryDirectory(prefix="crowd-detector-") as workplace:
        return metadata(load(weights, content, Path(workplace), allow_unsafe=allow_unsafe).model)


def metadata(network: Any) -> dict[str, str]:
    """Return of a loaded model's network what the exporter would have written (ultralytics 8.4, ``engine/exporter.py``)."""
    return {
        "names": str(dict(network.names)),
        "stride": str(int(max(network.stride))),
        "imgsz": str(network.args.get("imgsz", 640)),
        "task": "detect",
        "end2end": str(getattr(network, "end2end", False)),
    }


def _ultralytics(weights: Path, config: Path, *, allow_unsafe: bool) -> Any:
    """Return Ultralytics' class of models, which fetches, installs, reports and keeps nothing.

    Raises:
        ModelError: it cannot be imported, or cannot load weights safely.
    """
    # Read when it is imported.
    os.environ.update(
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=str(config),
        ULTRALYTICS_SAFE_LOAD=str(not allow_unsafe).lower(),
    )
    # OpenVINO's report to its maker, see engines/openvino.py.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        from ultralytics.models import YOLO  # noqa: PLC0415 - after the environment is as it must be
        from ultralytics.nn import tasks  # noqa: PLC0415
    # RuntimeError: PyTorch and torchvision are not of one build. OSError: a library is missing.
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{weights}: PyTorch, torchvision or Ultralytics is installed and cannot be imported ({brief(error)}); "
            "install all of one build: pip install --force-reinstall 'crowd-detector[service,torch]'"
        ) from error
    # Without it Ultralytics would load anything without a word.
    if not allow_unsafe and not getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False):
        raise ModelError(
            f"{weights}: PyTorch or Ultralytics is too old to load weights safely: "
            "pip install --upgrade torch torchvision ultralytics-opencv-headless"
        )
    tasks.SAFE_LOAD = not allow_unsafe  # type: ignore[attr-defined]  # it may have been imported before, with another environment
    return YOLO


def _asked_for(error: BaseException) -> str:
    """Return what a file wanted to call, by its name in Python; PyTorch says it below advice not to be followed."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {found[1]}" if found else brief(error)


def brief(error: BaseException) -> str:
    """Return an error's kind, and the first line of what it says."""
    said = str(error).replace("ERROR ❌️", "")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
