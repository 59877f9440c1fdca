"""TensorRT's engine files as Ultralytics writes them: the length of the metadata, the metadata, the engine.

Ultralytics 8.4, ``utils/export/engine.py``: four bytes, least first; JSON; then what TensorRT serialised.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from detector_service.errors import ModelError

_LENGTH: Final = 4


def join(metadata: Mapping[str, Any], engine: bytes) -> bytes:
    """Return the bytes of a file."""
    described = json.dumps(dict(metadata)).encode()
    return len(described).to_bytes(_LENGTH, "little") + described + engine


def split(data: bytes, path: Path) -> tuple[dict[str, str], bytes]:
    """Return the metadata, every value a Python literal as `detection.metadata` reads them, and the engine.

    Raises:
        ModelError: there are no metadata.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    try:
        described = json.loads(data[_LENGTH : _LENGTH + length])
        names = described["names"]
        if isinstance(names, dict):  # JSON has no keys but text
            described["names"] = {int(index): name for index, name in names.items()}
        metadata = {key: str(value) for key, value in described.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path}: no TensorRT engine with Ultralytics' metadata, or it is truncated; build it with "
            "`yolo export format=engine dynamic=True`, or give the weights (.pt) with TENSORRT_ENABLED=true"
        ) from error
    return metadata, data[_LENGTH + length :]
