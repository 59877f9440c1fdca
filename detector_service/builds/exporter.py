"""The process that exports weights: the only one that unpickles them where the service runs without PyTorch.

    python -m detector_service.builds.exporter ORDER

The order is a JSON object, as `builds.export` writes it. What was made lies in the order's folder
afterwards, with outcome.json beside it: empty, or with an "error" for people and perhaps an "errno".
"""

import ctypes
import hashlib
import json
import os
import pickle
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1


class _RefusedError(Exception):
    """The weights cannot be exported; says why."""


def main(order: str) -> None:
    """Carry out an order."""
    wanted = json.loads(order)
    _end_with_parent(wanted["parent"])
    folder = Path(wanted["folder"])
    outcome: dict[str, Any] = {}
    workplace = folder / "workplace"
    try:
        workplace.mkdir()
        _export(wanted, folder, workplace)
    except _RefusedError as refused:
        outcome = {"error": str(refused)}
    except OSError as error:
        outcome = {"error": error.strerror or str(error), "errno": error.errno or 0}
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    (folder / "outcome.json").write_text(json.dumps(outcome))


def _end_with_parent(parent: int) -> None:
    """Let the kernel end this process with the thread that started it, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        sys.exit(1)


def _export(wanted: dict[str, Any], folder: Path, workplace: Path) -> None:
    # What is hashed is what is loaded: a copy that nobody else can change meanwhile. Its name says
    # nothing, because Ultralytics reads things into names.
    data = Path(wanted["weights"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != wanted["content"]:
        raise _RefusedError("the file changed while it was read; start again once it is written")
    copy = workplace / "weights.pt"
    copy.write_bytes(data)
    model = load(copy, workplace, allow_unsafe=wanted["allow_unsafe"])
    if model.task != "detect":
        raise _RefusedError(
            f"a model for the task '{model.task}'; a detection model (task 'detect') is needed"
        )
    # Without simplifying, ONNX needs no package but onnx; what runs it simplifies it anyway.
    plainly = {"simplify": False} if wanted["kind"] == "onnx" else {}
    try:
        made = Path(model.export(format=wanted["kind"], dynamic=True, device="cpu", **plainly))
    except OSError:
        raise
    except Exception as error:
        raise _RefusedError(f"Ultralytics cannot export it ({_brief(error)})") from error
    for file in [made] if made.is_file() else made.iterdir():
        file.rename(folder / file.name)


def load(weights: Path, config: Path, *, allow_unsafe: bool) -> Any:
    """Return Ultralytics' model of these weights, without running code that they may carry.

    Args:
        weights: a .pt file that nobody changes.
        config: a folder for what Ultralytics writes down.
        allow_unsafe: whether weights may be loaded that run code of their own.
    """
    # Read by Ultralytics when it is imported: nothing is fetched, installed, reported or kept.
    os.environ.update(
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=str(config),
        ULTRALYTICS_SAFE_LOAD=str(not allow_unsafe).lower(),
    )
    # OpenVINO's report to its maker, see engines/openvino.py.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from ultralytics.models import YOLO  # noqa: PLC0415 - after the environment is as it must be

    try:
        return YOLO(weights)
    except Exception as error:
        if not allow_unsafe and isinstance(error.__cause__, pickle.UnpicklingError):
            raise _RefusedError(
                "it holds more than a model, and loading it could run code of whoever made it "
                f"({_brief(error.__cause__)}); if you trust it as you trust a program, set "
                "ALLOW_UNSAFE_MODELS=true"
            ) from error
        raise _RefusedError(
            f"Ultralytics cannot load it ({_brief(error)}); give the .pt that its training wrote"
        ) from error


def _brief(error: BaseException) -> str:
    """Return an error's first line that says something."""
    said = str(error).replace("ERROR ❌️", "")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1])
