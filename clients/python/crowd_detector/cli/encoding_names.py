"""The ways that pictures can be sent, by name; apart, because the help needs nothing but these."""

from enum import StrEnum


class Encoding(StrEnum):
    """What is sent."""

    AUTO = "auto"
    JPEG = "jpeg"
    RAW = "raw"
