"""What a model can be exported as."""

from enum import StrEnum


class Format(StrEnum):
    """The kinds of files, by the names that ``--format`` takes."""

    OPENVINO = "openvino"
    ONNX = "onnx"
    ENGINE = "engine"
