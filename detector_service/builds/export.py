"""PyTorch weights (.pt) as files that run without PyTorch: exported once, by a process of its own.

The service itself never imports PyTorch for this, neither when it exports nor when it finds what it
exported before. The process is given no secrets: of the environment only what it needs to run.
"""

import json
import os
import subprocess
import sys
import threading
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import structlog

from detector_service.builds.cache import BuildCache, BuildName, BuildStopped
from detector_service.errors import ModelError

_log = structlog.get_logger()

Kind = Literal["openvino", "onnx"]

#: Changes when the exporter gives other files for the same weights and the same Ultralytics.
_RECIPE: Final = "1"
#: Of the environment, what the exporting process may need; no tokens, no addresses of databases.
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
)
#: How often is looked whether the service goes down meanwhile, in seconds.
_LOOK_AGAIN: Final = 0.1
#: A build of half-precision weights at full precision, the copy that is exported, and some room.
_TIMES_THE_WEIGHTS: Final = 6
_ROOM: Final = 64 << 20


def exported(
    weights: Path, content: str, kind: Kind, *, allow_unsafe: bool, stop: threading.Event
) -> Path:
    """Return the folder of what weights were exported to, for inputs of any size.

    Args:
        weights: a .pt file.
        content: its content hash.
        kind: of files that are wanted.
        allow_unsafe: whether weights may be loaded that run code of their own.
        stop: set when the service goes down.

    Raises:
        ModelError: they cannot be exported; the text names the file and the cure.
        BuildStopped: `stop` was set.
    """
    cache = BuildCache(weights, content)
    maker = _maker()
    name = BuildName(kind, "any", maker or "")
    found = cache.find(name) if maker else cache.find_of_any_maker(name)
    if found is not None:
        return found
    if maker is None:
        raise ModelError(
            f"{weights}: PyTorch weights, which are exported once, and that needs PyTorch and Ultralytics: "
            "pip install 'crowd-detector[service,torch]'"
        )
    _check_archive(weights)
    return cache.build(
        name,
        lambda folder: _export(
            weights, content, kind, folder, allow_unsafe=allow_unsafe, stop=stop
        ),
        needed_bytes=_TIMES_THE_WEIGHTS * weights.stat().st_size + _ROOM,
        stop=stop,
    )


def _maker() -> str | None:
    """Return what would export, with its versions, without importing it; None where it is missing."""
    if find_spec("torch") is None or find_spec("torchvision") is None:
        return None
    for package in ("ultralytics-opencv-headless", "ultralytics"):
        try:
            return f"ultralytics-{version(package)}-openvino-{version('openvino')}-{_RECIPE}"
        except PackageNotFoundError:
            continue
    return None


def _check_archive(weights: Path) -> None:
    """Refuse what is no PyTorch file at once, before half a minute goes into starting the exporter."""
    try:
        with zipfile.ZipFile(weights) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError) as error:
        raise ModelError(
            f"{weights}: these are no PyTorch weights, or they are truncated ({error}); copy the file again"
        ) from error
    if damaged is not None:
        raise ModelError(f"{weights}: it is damaged (in {damaged}); copy the file again")
    if "data.pkl" not in names or "constants.pkl" in names:
        kind = "a TorchScript archive" if "constants.pkl" in names else "an archive of another kind"
        raise ModelError(
            f"{weights}: {kind}, not the weights that Ultralytics writes; give the .pt that training wrote"
        )


def _export(
    weights: Path,
    content: str,
    kind: Kind,
    folder: Path,
    *,
    allow_unsafe: bool,
    stop: threading.Event,
) -> None:
    """Run the exporter; its work lies in the folder when this returns."""
    _log.info("model.exporting", path=str(weights), to=kind, message="once; this takes a while")
    outcome, log = folder / "outcome.json", folder / "log"
    order = json.dumps(
        {
            "weights": str(weights.resolve()),
            "content": content,
            "kind": kind,
            "folder": str(folder.resolve()),
            "allow_unsafe": allow_unsafe,
            "parent": os.getpid(),
        }
    )
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    # The same code as here, wherever it was found.
    environment["PYTHONPATH"] = os.pathsep.join(
        str(Path(entry).resolve()) for entry in sys.path if entry
    )
    with (
        log.open("w") as output,
        subprocess.Popen(  # noqa: S603 - this very interpreter, and no shell
            [sys.executable, "-P", "-m", "detector_service.builds.exporter", order],
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
            "error": f"{weights}: the exporting process ended with {process.returncode} ({last[:200]})"
        }
    outcome.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    if "errno" in answer:
        raise OSError(answer["errno"], answer["error"])
    if "error" in answer:
        raise ModelError(answer["error"])
