"""The client of the detector: frames in, detections and crowd figures out.

`DetectorClient` is for ordinary code, `AsyncDetectorClient` for asyncio; they have the same surface.

Example:
    >>> with DetectorClient(address) as client:
    ...     print(client.detect("models/astronaut.jpg").crowd.total_people)
    2
"""

import logging

from crowd_detector._connection import Tls
from crowd_detector._flow import WhenFull
from crowd_detector._sources import Frames
from crowd_detector.async_client import AsyncDetectorClient
from crowd_detector.async_stream import AsyncStream
from crowd_detector.client import DetectorClient
from crowd_detector.errors import (
    AnswerTimeoutError,
    DetectorError,
    FrameError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
)
from crowd_detector.frames import DetectionSettings, Frame, ImageSource, PixelFormat, RawImage
from crowd_detector.results import (
    Alert,
    AlertLevel,
    AlertType,
    Box,
    Crowd,
    CrowdLevel,
    Detection,
    DropReason,
    Model,
    Models,
    Result,
    StageTimes,
    Stats,
    StreamSummary,
)
from crowd_detector.stream import Stream

__all__ = [
    "Alert",
    "AlertLevel",
    "AlertType",
    "AnswerTimeoutError",
    "AsyncDetectorClient",
    "AsyncStream",
    "Box",
    "Crowd",
    "CrowdLevel",
    "Detection",
    "DetectionSettings",
    "DetectorClient",
    "DetectorError",
    "DropReason",
    "Frame",
    "FrameError",
    "Frames",
    "ImageSource",
    "InvalidRequestError",
    "Model",
    "Models",
    "OverloadedError",
    "PixelFormat",
    "RawImage",
    "Result",
    "ServiceError",
    "StageTimes",
    "Stats",
    "Stream",
    "StreamSummary",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "WhenFull",
]

# Silent unless the program that uses the library sets up logging: libraries do not write to a terminal.
logging.getLogger("crowd_detector").addHandler(logging.NullHandler())
