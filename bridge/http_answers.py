"""What the HTTP side answers, as types."""

import msgspec


class LifeAnswer(msgspec.Struct, frozen=True):
    """That the bridge answers: `alive`, whatever becomes of the detectors."""

    status: str
    timestamp: str


class DetectorsAnswer(msgspec.Struct, frozen=True):
    """Of the detectors that the bridge may call, how many serve."""

    serving: int
    configured: int


class HealthAnswer(msgspec.Struct, frozen=True):
    """Whether the service can serve: `healthy`, or `unhealthy` where no detector serves; and what that depends on."""

    status: str
    timestamp: str
    detectors: DetectorsAnswer


class ModelAnswer(msgspec.Struct, frozen=True):
    """One model, as a detector has it."""

    loaded: bool
    path: str
    device: str
    format: str
    engine: str
    precision: str
    embedded: bool


class ModelsAnswer(msgspec.Struct, frozen=True):
    """The models that serve."""

    face_model: ModelAnswer
    body_model: ModelAnswer


class StatsAnswer(msgspec.Struct, frozen=True):
    """What is open on the bridge, and what the detectors have done.

    Attributes:
        active_connections: over all worker processes of the bridge.
        total_frames_processed: with a result, over all detectors.
        average_processing_time: seconds, over those frames.
        uptime: seconds, of the detector that runs longest.
    """

    active_connections: int
    total_frames_processed: int
    average_processing_time: float
    uptime: float


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not served."""

    code: str
    message: str


class ProblemAnswer(msgspec.Struct, frozen=True):
    """An HTTP error."""

    error: Problem
