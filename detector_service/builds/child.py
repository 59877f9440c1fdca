"""Builders as processes of their own: how they are started and stopped, and how they answer.

A builder's order is a JSON object on its command line. It fills the order's "folder" and leaves
outcome.json there: empty, or with an "error" for people and perhaps an "errno". It is given no
secrets: of the environment only what it needs to run.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from detector_service.builds.cache import BuildStopped
from detector_service.errors import ModelError

#: Of the environment, what a builder may need; no tokens, no addresses of databases.
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
)
#: How often is looked whether the service goes down meanwhile, in seconds.
_LOOK_AGAIN: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1


def give(module: str, order: Mapping[str, Any], folder: Path, stop: threading.Event) -> None:
    """Have a builder carry out an order; its work lies in the folder when this returns.

    Args:
        module: the builder's.
        order: what is to be done, as JSON has it.
        folder: an empty one.
        stop: set when the work is not wanted any more.

    Raises:
        ModelError: it cannot be done.
        OSError: the disk is full, or the like.
        BuildStopped: `stop` was set.
    """
    outcome, log = folder / "outcome.json", folder / "log"
    told = json.dumps({**order, "folder": str(folder.resolve()), "parent": os.getpid()})
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    # The same code as here, wherever it was found.
    environment["PYTHONPATH"] = os.pathsep.join(
        str(Path(entry).resolve()) for entry in sys.path if entry
    )
    with (
        log.open("w") as output,
        subprocess.Popen(  # noqa: S603 - this very interpreter, and no shell
            [sys.executable, "-P", "-m", module, told],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        ) as process,
    ):
        while process.poll() is None:
            if stop.wait(_LOOK_AGAIN):
                process.kill()
                raise BuildStopped
    try:
        answer = json.loads(outcome.read_text())
    except (OSError, ValueError):
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        answer = {
            "error": f"{order['source']}: the building process ended with {process.returncode} ({last[:200]})"
        }
    outcome.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    if "errno" in answer:
        raise OSError(answer["errno"], answer["error"])
    if "error" in answer:
        raise ModelError(answer["error"])


def take(build: Callable[[Mapping[str, Any]], None]) -> None:
    """Be a builder: carry out the order on the command line, and say how it went."""
    order = json.loads(sys.argv[1])
    # Let the kernel end this process with the thread that started it, so that none is left behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:  # it had ended before
        sys.exit(1)
    outcome: dict[str, Any] = {}
    try:
        build(order)
    except ModelError as refused:
        outcome = {"error": str(refused)}
    except OSError as error:
        outcome = {"error": error.strerror or str(error), "errno": error.errno or 0}
    (Path(order["folder"]) / "outcome.json").write_text(json.dumps(outcome))
