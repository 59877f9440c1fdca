"""The builder that exports weights: the only process that imports PyTorch where the service runs without it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detector_service.builds import child, weights
from detector_service.errors import ModelError


def _export(order: Mapping[str, Any]) -> None:
    path, folder = Path(order["source"]), Path(order["folder"])
    with tempfile.TemporaryDirectory(dir=folder) as workplace:
        model = weights.load(
            path, order["content"], Path(workplace), allow_unsafe=order["allow_unsafe"]
        )
        # Without simplifying, ONNX needs no package but onnx; what runs it simplifies it anyway.
        plainly = {"simplify": False} if order["kind"] == "onnx" else {}
        try:
            made = Path(model.export(format=order["kind"], dynamic=True, device="cpu", **plainly))
        except OSError:
            raise
        except Exception as error:
            raise ModelError(
                f"{path}: Ultralytics cannot export it ({weights.brief(error)}); export it by hand with "
                f"`yolo export model={path.name} format={order['kind']} dynamic=True`"
            ) from error
        for file in [made] if made.is_file() else made.iterdir():
            file.rename(folder / file.name)


if __name__ == "__main__":
    child.take(_export)
