"""What a model says of itself: the metadata that Ultralytics writes into what it exports."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from detector_service.errors import ModelError


@dataclass(frozen=True, slots=True)
class Metadata:
    """A detection model's own description.

    Attributes:
        classes: names, in the order of the outputs.
        stride: sides of the input are multiples of it, in pixels.
        input_size: the longest side that the model was made for, in pixels.
        end_to_end: whether NMS is part of the model.
    """

    classes: tuple[str, ...]
    stride: int
    input_size: int
    end_to_end: bool

    @classmethod
    def parse(cls, raw: Mapping[str, str], path: Path) -> Self:
        """Read metadata as Ultralytics writes it, every value a Python literal.

        Raises:
            ModelError: it is missing, damaged, or of a model that does not detect.
        """
        if "names" not in raw:
            raise ModelError(
                f"{path}: it carries no Ultralytics metadata (names, stride, imgsz); "
                "export the model with `yolo export format=onnx dynamic=True`"
            )
        task = raw.get("task", "detect")
        if task != "detect":
            raise ModelError(
                f"{path}: a model for the task '{task}'; a detection model (task 'detect') is needed"
            )
        try:
            return cls(
                classes=_names(raw["names"]),
                stride=_positive(raw.get("stride", "32")),
                input_size=_size(raw.get("imgsz", "640")),
                end_to_end=raw.get("end2end", "False") == "True",
            )
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise ModelError(
                f"{path}: its metadata cannot be understood ({error}); export the model again"
            ) from error


def _names(text: str) -> tuple[str, ...]:
    names = ast.literal_eval(text)
    if not isinstance(names, dict) or sorted(names) != list(range(len(names))) or not names:
        raise ValueError(f"names is {text[:80]}")
    return tuple(str(names[index]) for index in range(len(names)))


def _size(text: str) -> int:
    value = ast.literal_eval(text)
    sides = value if isinstance(value, list) else [value]
    return max(_positive(str(side)) for side in sides)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{text} is not a positive number")
    return value
