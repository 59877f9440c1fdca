"""What comes out: detections, crowd figures, models, statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from crowd_detector.frames import Frame

__all__ = [
    "Alert",
    "AlertLevel",
    "AlertType",
    "Box",
    "Crowd",
    "CrowdLevel",
    "Detection",
    "DropReason",
    "Model",
    "Models",
    "Result",
    "StageTimes",
    "Stats",
    "StreamSummary",
]


class CrowdLevel(StrEnum):
    """How many people a frame shows, in words.

    Example:
        >>> CrowdLevel.VERY_HIGH
        <CrowdLevel.VERY_HIGH: 'very_high'>
    """

    EMPTY = "empty"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    VERY_HIGH = "very_high"
    UNKNOWN = "unknown"  # the service is newer than this library


class AlertType(StrEnum):
    """What an alert is about.

    Example:
        >>> AlertType.CROWD_WARNING.value
        'crowd_warning'
    """

    CROWD_WARNING = "crowd_warning"
    PROCESSING_ERROR = "processing_error"
    CONNECTION_LIMIT = "connection_limit"
    UNKNOWN = "unknown"


class AlertLevel(StrEnum):
    """The severity of an alert.

    Example:
        >>> AlertLevel.CRITICAL.value
        'critical'
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class DropReason(StrEnum):
    """Why a frame got no answer.

    Example:
        >>> DropReason.SUPERSEDED.value
        'superseded'
    """

    #: A newer frame took its place, here or at the service.
    SUPERSEDED = "superseded"
    #: It came sooner than the frame rate allows.
    RATE_LIMITED = "rate_limited"
    #: A newer frame took its place while the answers were not read.
    CLIENT_SLOW = "client_slow"
    #: Its answer would have come later than ``max_age`` allows.
    LATE = "late"
    #: The frames that wait at the service took as many bytes as they may, this stream's the most.
    MEMORY_LIMITED = "memory_limited"
    #: It was under way when the connection was lost, and was not worth sending again.
    CONNECTION_LOST = "connection_lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the frame as it was sent; ``0 <= x1 < x2 <= width``.

    Example:
        >>> box = Box(10.0, 20.0, 110.0, 70.0)
        >>> box.width, box.height
        (100.0, 50.0)
    """

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels."""
        return self.y2 - self.y1


@dataclass(frozen=True, slots=True)
class Detection:
    """One face or one person.

    Attributes:
        box: where.
        confidence: the model's score, [0, 1].

    Example:
        >>> Detection(Box(0, 0, 8, 8), 0.93).confidence
        0.93
    """

    box: Box
    confidence: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """The crowd in one frame.

    Attributes:
        face_count: faces found.
        body_count: bodies found.
        total_people: the larger of the two.
        level: that total_people falls into.
        density_score: how full the frame is, [0, 1]; the contract has its formula.

    Example:
        >>> Crowd(3, 4, 4, CrowdLevel.MEDIUM, 0.31).total_people
        4
    """

    face_count: int
    body_count: int
    total_people: int
    level: CrowdLevel
    density_score: float


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know.

    Attributes:
        type: what kind.
        level: its severity.
        message: one sentence for people.
        camera: the camera concerned; empty where it is none's.
        time: when it was raised, by the service's clock.
        alert_id: unique; empty in a `Result`, whose alerts belong to the frame.
        total_people: people seen (crowd_warning only).
        crowd_threshold: that they exceed (crowd_warning only).

    Example:
        >>> from datetime import UTC
        >>> time = datetime(2026, 1, 1, tzinfo=UTC)
        >>> Alert(AlertType.CROWD_WARNING, AlertLevel.WARNING, "12 people", "door", time).alert_id
        ''
    """

    type: AlertType
    level: AlertLevel
    message: str
    camera: str
    time: datetime
    alert_id: str = ""
    total_people: int = 0
    crowd_threshold: int = 0


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where the time of a frame went, in seconds.

    Attributes:
        queued: from arrival until a worker took the frame.
        decode: reading the header, decoding, turning upright.
        inference: the resize to the model's input, and the model.
        post_processing: head decoding, non-maximum suppression, crowd analysis.

    Example:
        >>> StageTimes(0.001, 0.004, 0.008, 0.001).inference
        0.008
    """

    queued: float
    decode: float
    inference: float
    post_processing: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in a frame.

    Attributes:
        frame_id: the frame's own.
        camera: the frame's own, or the stream's.
        sequence: the frame's number in its call, from 1; after a reconnection it starts again.
        width: of the upright picture, pixels.
        height: of the upright picture, pixels.
        faces: by falling confidence.
        bodies: people, by falling confidence.
        crowd: the figures of the whole frame.
        alerts: what this frame gives reason to warn of.
        stage_times: where the time went.
        processing_time: seconds from the frame's arrival in the service to this result.
        completed_time: when the result was ready, by the service's clock.
        capture_time: the frame's own.
        dropped: frames of the stream that were dropped since the answer before, by reason.
        frame: the frame as it was given to the client; None from ``detect``.

    Example:
        >>> with DetectorClient(address) as client:
        ...     result = client.detect("models/astronaut.jpg")
        >>> result.crowd.level
        <CrowdLevel.LOW: 'low'>
    """

    frame_id: str
    camera: str
    sequence: int
    width: int
    height: int
    faces: tuple[Detection, ...]
    bodies: tuple[Detection, ...]
    crowd: Crowd
    alerts: tuple[Alert, ...]
    stage_times: StageTimes
    processing_time: float
    completed_time: datetime
    capture_time: datetime | None = None
    dropped: Mapping[DropReason, int] = field(default_factory=dict, hash=False)
    frame: Frame | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the frame as it was sent, in types that ``json.dumps`` takes.

        Example:
            >>> with DetectorClient(address) as client:
            ...     found = client.detect("models/astronaut.jpg").as_dict()
            >>> sorted(found["crowd"])
            ['body_count', 'density_score', 'face_count', 'level', 'total_people']
        """
        return {
            "frame_id": self.frame_id,
            "camera": self.camera,
            "sequence": self.sequence,
            "capture_time": self.capture_time and self.capture_time.isoformat(),
            "width": self.width,
            "height": self.height,
            "faces": [_detection_dict(face) for face in self.faces],
            "bodies": [_detection_dict(body) for body in self.bodies],
            "crowd": {
                "face_count": self.crowd.face_count,
                "body_count": self.crowd.body_count,
                "total_people": self.crowd.total_people,
                "level": self.crowd.level.value,
                "density_score": self.crowd.density_score,
            },
            "alerts": [
                {
                    "type": alert.type.value,
                    "level": alert.level.value,
                    "message": alert.message,
                    "camera": alert.camera,
                    "time": alert.time.isoformat(),
                    "total_people": alert.total_people,
                    "crowd_threshold": alert.crowd_threshold,
                }
                for alert in self.alerts
            ],
            "stage_times": {
                "queued": self.stage_times.queued,
                "decode": self.stage_times.decode,
                "inference": self.stage_times.inference,
                "post_processing": self.stage_times.post_processing,
            },
            "processing_time": self.processing_time,
            "completed_time": self.completed_time.isoformat(),
            "dropped": {reason.value: count for reason, count in self.dropped.items()},
        }


@dataclass(frozen=True, slots=True)
class Model:
    """One model that serves.

    Attributes:
        loaded: whether it can be used now.
        path: the file or folder it was loaded from, at the service.
        device: where it runs: ``"cpu"``.
        format: the kind of file: ``"onnx"``.
        engine: what runs it: ``"openvino"``.
        precision: of the arithmetic: ``"bf16"``.
        classes: all classes of the model.
        counted_classes: those that count for this role.
        input_size: the longest side of its input, pixels.
        content_sha256: of the weights, in hexadecimal.
        embedded: whether it is the model that ships with the service.

    Example:
        >>> with DetectorClient(address) as client:
        ...     client.models().face.counted_classes
        ('face',)
    """

    loaded: bool
    path: str
    device: str
    format: str
    engine: str
    precision: str
    classes: tuple[str, ...]
    counted_classes: tuple[str, ...]
    input_size: int
    content_sha256: str
    embedded: bool


@dataclass(frozen=True, slots=True)
class Models:
    """The models that serve; the two are the same where one finds both.

    Example:
        >>> with DetectorClient(address) as client:
        ...     models = client.models()
        >>> models.face.path == models.body.path
        True
    """

    face: Model
    body: Model


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and means since the service started; times in seconds.

    Attributes:
        total_frames_processed: frames that got a result.
        average_processing_time: mean from arrival to result.
        uptime: since start.
        active_streams: open now.
        frames_received: frames that arrived.
        frames_abandoned: frames whose caller left before they were answered.
        dropped: frames dropped, by reason.
        errors: frames answered with an error, by reason.
        queued_frames: frames waiting for a worker now.
        average_stage_times: means over the frames that got a result.
        resident_memory_bytes: of the service's process.
        event_loop_lag_p99: how late the event loop ran over the last minute.

    Example:
        >>> with DetectorClient(address) as client:
        ...     client.stats().active_streams
        0
    """

    total_frames_processed: int
    average_processing_time: float
    uptime: float
    active_streams: int
    frames_received: int
    frames_abandoned: int
    dropped: Mapping[DropReason, int]
    errors: Mapping[str, int]
    queued_frames: int
    average_stage_times: StageTimes
    resident_memory_bytes: int
    event_loop_lag_p99: float


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What became of a stream's frames, so far.

    Attributes:
        frames: taken from the source.
        results: answered with a result.
        errors: answered with a `FrameError`.
        dropped: dropped, here or at the service, by reason.
        reconnections: how often the connection was lost and made again.

    Example:
        >>> with DetectorClient(address) as client:
        ...     with client.stream(["models/astronaut.jpg"] * 3) as stream:
        ...         for result in stream:
        ...             pass
        >>> stream.summary
        StreamSummary(frames=3, results=3, errors=0, dropped={}, reconnections=0)
    """

    frames: int
    results: int
    errors: int
    dropped: Mapping[DropReason, int]
    reconnections: int


def _detection_dict(detection: Detection) -> dict[str, Any]:
    box = detection.box
    return {"box": [box.x1, box.y1, box.x2, box.y2], "confidence": detection.confidence}
