"""What can go wrong, as one small tree.

::

    DetectorError
    ├── ConfigurationError   a setting is not acceptable: exit code 2
    ├── ModelError           a model cannot be loaded: exit code 1
    └── FrameRefused         a frame cannot be answered with a result; the service goes on
"""

from crowd.detector.v1 import detector_pb2 as pb


class DetectorError(Exception):
    """Anything this service raises on purpose; its text names the cause and the cure."""


class ConfigurationError(DetectorError):
    """A setting has a value that is not acceptable."""


class ModelError(DetectorError):
    """A model file cannot serve: missing, damaged, of a wrong kind, or with the wrong classes."""


class FrameRefused(DetectorError):  # noqa: N818 - it is no error of the service
    """A frame that gets an error for an answer.

    Attributes:
        reason: which one of the contract's ``ErrorReason`` values.
    """

    def __init__(self, reason: pb.ErrorReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.reason = reason
