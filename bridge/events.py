"""The JSON events of `/ws`, as types: what they hold, what is acceptable, and nothing about how they are read.

Requests are closed unions by their `event`; unknown keys of `process_frame` are passed over, as a client
of a later version may send them, and those of `configure` are refused, because a setting that
is not applied makes every later answer another than was asked for.
"""

from typing import Annotated, Any, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from bridge.errors import ErrorCode

# Ranges of crowd.detector.v1; the contract's comments give them.
MAX_CROWD_THRESHOLD: Final = 1_000_000
MAX_FRAME_RATE: Final = 1000
MAX_BUFFER_FRAMES: Final = 32
MAX_PRIORITY: Final = 100
MIN_MAX_AGE: Final = 0.001
MAX_MAX_AGE: Final = 3600
MAX_NAME_BYTES: Final = 256
_MAX_CAMERAS: Final = 1000

Number: TypeAlias = int | float
Name: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME_BYTES)]
Bbox: TypeAlias = tuple[float, float, float, float]


# ---- From the client -----------------------------------------------------------------------------


class DetectionSettings(Struct, frozen=True):
    """What a caller may set of the detection."""

    confidence_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    crowd_threshold: Annotated[int, Meta(ge=0, le=MAX_CROWD_THRESHOLD)] | None = None


class FrameHeader(Struct, frozen=True):
    """What a client says of a frame: all optional.

    Attributes:
        timestamp: ms since the epoch, by the client's clock; echoed.
        settings: for this frame only.
        camera: default: the one configured, or else the client's id.
        frame_id: any text; echoed.
        traceparent: the span that the frame's own shall belong to, as W3C Trace Context writes it; one that is
            malformed is passed over.
        tracestate: likewise, what others want to be passed on.
    """

    timestamp: Number | None = None
    settings: DetectionSettings | None = None
    camera: Name | None = None
    frame_id: Name | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class FrameData(FrameHeader, frozen=True, kw_only=True):
    """A frame of the JSON protocol.

    Attributes:
        frame: the image in base64, with or without a data: URL prefix.
    """

    frame: str


class ProcessFrame(Struct, tag_field="event", tag="process_frame", frozen=True):
    """A frame to look at."""

    data: FrameData


class ProcessFrameHeader(Struct, tag_field="event", tag="process_frame", frozen=True):
    """A frame to look at whose image follows the header (the binary protocol with a JSON header)."""

    data: FrameHeader = FrameHeader()


class StrictSettings(DetectionSettings, frozen=True, forbid_unknown_fields=True):
    """Settings of a stream."""


class StreamSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the connection's frames are to be served from now on; replaces what was configured before.

    Attributes:
        camera: the name of frames that carry none.
        settings: for frames that do not set their own.
        max_frame_rate: frames a second; those that come sooner are dropped; 0: only the service's limits.
        buffer_frames: frames that may wait; 0: the service's default.
        priority: its share of the service while more comes than can be served, beside those of others; 0: the
            service's default, 10.
        max_age: seconds after a frame's arrival; one whose answer would come later is dropped; none: answers
            come however late.
    """

    camera: Name | None = None
    settings: StrictSettings | None = None
    max_frame_rate: Annotated[float, Meta(ge=0, le=MAX_FRAME_RATE)] = 0.0
    buffer_frames: Annotated[int, Meta(ge=0, le=MAX_BUFFER_FRAMES)] = 0
    priority: Annotated[int, Meta(ge=0, le=MAX_PRIORITY)] = 0
    max_age: Annotated[float, Meta(ge=MIN_MAX_AGE, le=MAX_MAX_AGE)] | None = None


class Configure(Struct, tag_field="event", tag="configure", frozen=True):
    """Settings of the stream; answered with `configured`."""

    data: StreamSettings


class AlertFilter(Struct, frozen=True):
    """Which alerts are wanted.

    Attributes:
        cameras: their names; none means all.
    """

    cameras: Annotated[list[Name], Meta(max_length=_MAX_CAMERAS)] = []


class SubscribeAlerts(Struct, tag_field="event", tag="subscribe_alerts", frozen=True):
    """From now on, `alert` events; replaces an earlier subscription."""

    data: AlertFilter | None = None


class UnsubscribeAlerts(Struct, tag_field="event", tag="unsubscribe_alerts", frozen=True):
    """No more `alert` events."""


class Credentials(Struct, frozen=True):
    """Who the client is.

    Attributes:
        token: one of the bridge's AUTH_TOKENS_FILE.
    """

    token: str


class Authenticate(Struct, tag_field="event", tag="authenticate", frozen=True):
    """The first message, where the bridge asks for a token and the handshake brought none."""

    data: Credentials


Request: TypeAlias = ProcessFrame | Configure | SubscribeAlerts | UnsubscribeAlerts | Authenticate
HeaderRequest: TypeAlias = (
    ProcessFrameHeader | Configure | SubscribeAlerts | UnsubscribeAlerts | Authenticate
)


# ---- To the client -------------------------------------------------------------------------------


class ConnectedData(Struct, frozen=True):
    """Who the client is to the service, and the service's time in ms since the epoch."""

    client_id: str
    server_time: int


class Connected(Struct, tag_field="event", tag="connected", frozen=True):
    """The first event."""

    data: ConnectedData


class Detection(Struct, frozen=True):
    """One face or body: pixels of the upright frame as it was sent; the model's score."""

    bbox: Bbox
    confidence: float


class CrowdAnalysis(Struct, frozen=True):
    """The crowd in one frame."""

    face_count: int
    body_count: int
    crowd_level: str
    density_score: float
    total_people: int


class Alert(Struct, frozen=True):
    """What a frame gives reason to warn of."""

    type: str
    message: str
    level: str


class FrameEcho(Struct, frozen=True, omit_defaults=True):
    """Which frame is spoken of.

    Attributes:
        sequence: the number of the client's message on this connection, from 1; every message counts.
        timestamp: as sent; left out where none was.
        frame_id: as sent; left out where none was.
        camera: as sent, or the connection's.
        width: of the upright picture, pixels; left out where it could not be read.
        height: likewise.
    """

    sequence: int
    timestamp: Number | UnsetType = UNSET
    frame_id: str = ""
    camera: str = ""
    width: int = 0
    height: int = 0


class ResultData(Struct, frozen=True):
    """What a frame showed.

    Attributes:
        processing_time: seconds in the detector.
        timestamp: ms since the epoch, by the detector's clock.
        drops: frames dropped on this connection since the answer before, by reason.
    """

    faces: list[Detection]
    bodies: list[Detection]
    crowd_analysis: CrowdAnalysis
    alerts: list[Alert]
    processing_time: float
    timestamp: int
    frame: FrameEcho
    drops: dict[str, int]


class DetectionResult(Struct, tag_field="event", tag="detection_result", frozen=True):
    """The answer to a frame."""

    data: ResultData


class ErrorData(Struct, frozen=True):
    """Why there is no result.

    Attributes:
        frame: the message or frame at fault, where one is.
        drops: as in a result; left out where there are none.
    """

    code: ErrorCode
    message: str
    details: str
    frame: FrameEcho | UnsetType = UNSET
    drops: dict[str, int] | UnsetType = UNSET


class Error(Struct, tag_field="event", tag="error", frozen=True):
    """A message, a frame or the connection was refused."""

    data: ErrorData


class AppliedSettings(Struct, frozen=True):
    """The detection settings that apply to frames that set none."""

    confidence_threshold: float
    crowd_threshold: int


class ConfiguredData(Struct, frozen=True):
    """The values as they apply; no `max_age`: answers come however late."""

    camera: str
    settings: AppliedSettings
    max_frame_rate: float
    buffer_frames: int
    priority: int
    max_age: float | None


class Configured(Struct, tag_field="event", tag="configured", frozen=True):
    """A configuration was taken."""

    data: ConfiguredData


class RaisedAlertData(Struct, frozen=True):
    """An alert, as it was raised.

    Attributes:
        timestamp: ms since the epoch.
        total_people: seen when it was raised (crowd_warning only).
        crowd_threshold: which they exceed (crowd_warning only).
    """

    type: str
    level: str
    message: str
    camera: str
    timestamp: int
    alert_id: str
    total_people: int | UnsetType = UNSET
    crowd_threshold: int | UnsetType = UNSET


class RaisedAlert(Struct, tag_field="event", tag="alert", frozen=True):
    """An alert of a camera; only after subscribing."""

    data: RaisedAlertData


Event: TypeAlias = Connected | DetectionResult | Error | Configured | RaisedAlert


def names(events: Any) -> list[str]:
    """Return the names of the events of a union."""
    return [str(each.__struct_config__.tag) for each in events.__args__]
