"""The process that exports weights: the only one that imports PyTorch where the service runs without it.

    python -m detector_service.builds.exporter ORDER

The order is a JSON object, as `builds.export` writes it. What was made lies in the order's folder
afterwards, with outcome.json beside it: empty, or with an "error" for people and perhaps an "errno".
"""

import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

from detector_service.builds import weights
from detector_service.errors import ModelError

_PR_SET_PDEATHSIG: Final = 1


def main(order: str) -> None:
    """Carry out an order."""
    wanted = json.loads(order)
    _end_with_parent(wanted["parent"])
    folder = Path(wanted["folder"])
    workplace = folder / "workplace"
    outcome: dict[str, Any] = {}
    try:
        workplace.mkdir()
        _export(wanted, folder, workplace)
    except ModelError as refused:
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
    path = Path(wanted["weights"])
    model = weights.load(path, wanted["content"], workplace, allow_unsafe=wanted["allow_unsafe"])
    # Without simplifying, ONNX needs no package but onnx; what runs it simplifies it anyway.
    plainly = {"simplify": False} if wanted["kind"] == "onnx" else {}
    try:
        made = Path(model.export(format=wanted["kind"], dynamic=True, device="cpu", **plainly))
    except OSError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path}: Ultralytics cannot export it ({weights.brief(error)}); export it by hand with "
            f"`yolo export model={path.name} format={wanted['kind']} dynamic=True`"
        ) from error
    for file in [made] if made.is_file() else made.iterdir():
        file.rename(folder / file.name)


if __name__ == "__main__":
    main(sys.argv[1])
