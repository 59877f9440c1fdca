"""PyTorch weights (.pt) as files that run without PyTorch: exported once, by a process of its own.

The service itself never imports PyTorch for this, neither when it exports nor when it finds what it
exported before.
"""

import threading
import zipfile
import zlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import structlog

from detector_service.builds import child
from detector_service.builds.cache import BuildCache, BuildName
from detector_service.errors import ModelError

_log = structlog.get_logger()

Kind = Literal["openvino", "onnx"]

#: Changes when the exporter gives other files for the same weights and the same Ultralytics.
_RECIPE: Final = "1"
#: A build of half-precision weights at full precision, the copy that is exported, and some room.
_TIMES_THE_WEIGHTS: Final = 6
_ROOM: Final = 64 << 20
#: What reading a damaged or foreign archive raises: RuntimeError where it wants a password.
_NO_ARCHIVE: Final = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)


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
    check_archive(weights)
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


def check_archive(weights: Path) -> None:
    """Refuse what is no PyTorch file at once, before half a minute goes into starting PyTorch.

    Raises:
        ModelError: it is none, or it is damaged.
    """
    try:
        with zipfile.ZipFile(weights) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
            damaged = archive.testzip()
    except _NO_ARCHIVE as error:
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
    _log.info("model.exporting", path=str(weights), to=kind, message="once; this takes a while")
    order = {
        "source": str(weights.resolve()),
        "content": content,
        "kind": kind,
        "allow_unsafe": allow_unsafe,
    }
    child.give("detector_service.builds.exporter", order, folder, stop)
