"""Between the JSON events and the messages of crowd.detector.v1; no I/O, no clock."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET

from bridge import events, json_text, wire
from bridge.errors import ErrorCode, Refused
from telemetry.trace_context import TraceContext

#: Dropped, because the detector that had them went away; the contract has no word for it.
LOST: Final = "detector_lost"

_OTHER: Final = "other"  # for reasons of a later contract
_NANOS: Final = 1_000_000_000
_BBOX_DECIMALS: Final = 3  # all that a 32-bit float holds of a coordinate up to 8191
_SCORE_DECIMALS: Final = 6
#: Characters that are passed on of a `traceparent` and a `tracestate`. More than 512 count as malformed, and one
#: more says that they are more; megabytes of them would be too much for the metadata of a call.
_MOST_CONTEXT: Final = 513

_LEVELS: Final = {
    number: name.removeprefix("CROWD_LEVEL_").lower() for name, number in pb.CrowdLevel.items()
}
_ALERT_TYPES: Final = {
    number: name.removeprefix("ALERT_TYPE_").lower() for name, number in pb.AlertType.items()
}
_ALERT_LEVELS: Final = {
    number: name.removeprefix("ALERT_LEVEL_").lower() for name, number in pb.AlertLevel.items()
}
_DROP_REASONS: Final = {
    number: name.removeprefix("DROP_REASON_").lower() for name, number in pb.DropReason.items()
} | {pb.DROP_REASON_UNSPECIFIED: LOST}
#: All that there are, as clients are told them.
DROP_REASONS: Final = (*_DROP_REASONS.values(), _OTHER)
ALERT_TYPES: Final = tuple(_ALERT_TYPES.values())
ALERT_LEVELS: Final = tuple(_ALERT_LEVELS.values())
_DROP_NUMBERS: Final = {name: number for number, name in _DROP_REASONS.items()}

#: What an ErrorReason of a frame is to a browser; those not listed are PROCESSING_ERROR.
ERROR_CODES: Final[Mapping[int, ErrorCode]] = {
    pb.ERROR_REASON_IMAGE_MISSING: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_UNSUPPORTED_IMAGE: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_TRUNCATED_IMAGE: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_ANIMATED_IMAGE: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_CORRUPT_IMAGE: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_RAW_SIZE_MISMATCH: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_UNSUPPORTED_PIXEL_FORMAT: ErrorCode.UNSUPPORTED_IMAGE,
    pb.ERROR_REASON_FRAME_TOO_LARGE: ErrorCode.FRAME_TOO_LARGE,
    pb.ERROR_REASON_INVALID_SETTINGS: ErrorCode.INVALID_MESSAGE,
    pb.ERROR_REASON_INVALID_REQUEST: ErrorCode.INVALID_MESSAGE,
}


# ---- To the detector -----------------------------------------------------------------------------


def to_frame(header: events.FrameHeader, image: bytes | memoryview) -> wire.WireFrame:
    """Return a frame as it is sent to the detector.

    Raises:
        Refused: a name or the time is out of its range.
    """
    frame = pb.Frame()
    if header.camera:
        json_text.check_name(header.camera, "data.camera")
        frame.camera = header.camera
    if header.frame_id:
        json_text.check_name(header.frame_id, "data.frame_id")
        frame.frame_id = header.frame_id
    if header.timestamp is not None:
        json_text.check_timestamp(header.timestamp)
        frame.capture_time.CopyFrom(to_timestamp(header.timestamp))
    if header.traceparent:
        frame.traceparent, frame.tracestate = context_of(header)
    if header.settings is not None:
        frame.settings.CopyFrom(_to_settings(header.settings))
    return wire.join(frame, image)


def context_of(header: events.FrameHeader) -> TraceContext:
    """Return the span that a frame says it belongs to."""
    return bounded(TraceContext(header.traceparent or "", header.tracestate or ""))


def bounded(context: TraceContext) -> TraceContext:
    """Return as much of what a client says of its span as the detector needs."""
    return TraceContext(context.traceparent[:_MOST_CONTEXT], context.tracestate[:_MOST_CONTEXT])


def to_config(settings: events.StreamSettings) -> pb.StreamConfig:
    """Return a stream's settings as the contract has them.

    Raises:
        Refused: the camera's name is too long.
    """
    config = pb.StreamConfig(
        max_frame_rate=settings.max_frame_rate,
        buffer_frames=settings.buffer_frames,
        priority=settings.priority,
    )
    if settings.max_age is not None:
        config.max_age.FromNanoseconds(round(settings.max_age * _NANOS))
    if settings.camera:
        json_text.check_name(settings.camera, "data.camera")
        config.camera = settings.camera
    if settings.settings is not None:
        config.settings.CopyFrom(_to_settings(settings.settings))
    return config


def to_timestamp(milliseconds: events.Number) -> Timestamp:
    """Return a time as the contract has it.

    Args:
        milliseconds: since the epoch.
    """
    whole, nanos = divmod(round(milliseconds * 1_000_000), _NANOS)
    return Timestamp(seconds=whole, nanos=nanos)


def check_config(config: pb.StreamConfig) -> None:
    """Check a configuration that did not come as JSON; one out of range would end the detector's stream.

    Raises:
        Refused: a value is out of its range or not a number.
    """
    json_text.check_name(config.camera, "config.camera")
    if not 0 <= config.max_frame_rate <= events.MAX_FRAME_RATE:  # NaN is not in any range
        raise _out_of_range("config.max_frame_rate", events.MAX_FRAME_RATE)
    if config.buffer_frames > events.MAX_BUFFER_FRAMES:
        raise _out_of_range("config.buffer_frames", events.MAX_BUFFER_FRAMES)
    if config.priority > events.MAX_PRIORITY:
        raise _out_of_range("config.priority", events.MAX_PRIORITY)
    shortest, longest = events.MIN_MAX_AGE, events.MAX_MAX_AGE
    if config.HasField("max_age") and not shortest <= seconds(config.max_age) <= longest:
        raise _out_of_range("config.max_age", longest, shortest)
    settings = config.settings
    if settings.HasField("confidence_threshold") and not 0 <= settings.confidence_threshold <= 1:
        raise _out_of_range("config.settings.confidence_threshold", 1)
    if settings.crowd_threshold > events.MAX_CROWD_THRESHOLD:
        raise _out_of_range("config.settings.crowd_threshold", events.MAX_CROWD_THRESHOLD)


def drop_counts(drops: Mapping[str, int]) -> list[pb.DropCount]:
    """Return drops by name as the contract has them."""
    return [
        pb.DropCount(reason=_DROP_NUMBERS.get(name, pb.DROP_REASON_UNSPECIFIED), count=count)
        for name, count in drops.items()
    ]


def _to_settings(settings: events.DetectionSettings) -> pb.DetectionSettings:
    return pb.DetectionSettings(
        confidence_threshold=settings.confidence_threshold, crowd_threshold=settings.crowd_threshold
    )


def _out_of_range(field: str, most: float, least: float = 0) -> Refused:
    return Refused(
        ErrorCode.INVALID_MESSAGE,
        f"the message is not acceptable: {field} must lie in [{least:g}, {most:g}]",
    )


# ---- From the detector ---------------------------------------------------------------------------


def named_drops(drops: Iterable[pb.DropCount]) -> dict[str, int]:
    """Return drops by name."""
    named: Counter[str] = Counter()
    for drop in drops:
        named[_DROP_REASONS.get(drop.reason, _OTHER)] += drop.count
    return named


def to_result(
    result: pb.FrameResult, echo: events.FrameEcho, drops: dict[str, int]
) -> events.DetectionResult:
    """Return a frame's result as an event.

    Args:
        result: the detector's.
        echo: which frame it answers.
        drops: to be told with it.
    """
    crowd = result.crowd
    return events.DetectionResult(
        events.ResultData(
            faces=[_detection(each) for each in result.faces],
            bodies=[_detection(each) for each in result.bodies],
            crowd_analysis=events.CrowdAnalysis(
                face_count=crowd.face_count,
                body_count=crowd.body_count,
                crowd_level=_LEVELS.get(crowd.crowd_level, "unspecified"),
                density_score=round(crowd.density_score, _SCORE_DECIMALS),
                total_people=crowd.total_people,
            ),
            alerts=[
                events.Alert(
                    type=_ALERT_TYPES.get(alert.type, "unspecified"),
                    message=alert.message,
                    level=_ALERT_LEVELS.get(alert.level, "unspecified"),
                )
                for alert in result.alerts
            ],
            processing_time=seconds(result.processing_time),
            timestamp=milliseconds(result.completed_time),
            frame=echo,
            drops=drops,
        )
    )


def error_code(error: pb.FrameError) -> ErrorCode:
    """Return what a browser is told that a frame's error is."""
    return ERROR_CODES.get(error.reason, ErrorCode.PROCESSING_ERROR)


def to_error(error: pb.FrameError, echo: events.FrameEcho, drops: dict[str, int]) -> events.Error:
    """Return why a frame got no result as an event."""
    reason = pb.ErrorReason.Name(error.reason) if error.reason in pb.ErrorReason.values() else ""
    return events.Error(
        events.ErrorData(
            code=error_code(error),
            message=error.message,
            details=error.details or reason.removeprefix("ERROR_REASON_"),
            frame=echo,
            drops=drops or UNSET,
        )
    )


def to_configured(config: pb.StreamConfig) -> events.Configured:
    """Return the values as they apply as an event."""
    return events.Configured(
        events.ConfiguredData(
            camera=config.camera,
            settings=events.AppliedSettings(
                confidence_threshold=round(config.settings.confidence_threshold, _SCORE_DECIMALS),
                crowd_threshold=config.settings.crowd_threshold,
            ),
            max_frame_rate=round(config.max_frame_rate, _SCORE_DECIMALS),
            buffer_frames=config.buffer_frames,
            priority=config.priority,
            max_age=seconds(config.max_age) if config.HasField("max_age") else None,
        )
    )


def to_alert(alert: pb.Alert) -> events.RaisedAlert:
    """Return an alert as an event."""
    crowd = alert.type == pb.ALERT_TYPE_CROWD_WARNING
    return events.RaisedAlert(
        events.RaisedAlertData(
            type=_ALERT_TYPES.get(alert.type, "unspecified"),
            level=_ALERT_LEVELS.get(alert.level, "unspecified"),
            message=alert.message,
            camera=alert.camera,
            timestamp=milliseconds(alert.time),
            alert_id=alert.alert_id,
            total_people=alert.total_people if crowd else UNSET,
            crowd_threshold=alert.crowd_threshold if crowd else UNSET,
        )
    )


def to_echo(
    about: pb.FrameInfo, sequence: int, timestamp: events.Number | None
) -> events.FrameEcho:
    """Return which frame is spoken of.

    Args:
        about: as the detector saw it.
        sequence: the number of the client's message.
        timestamp: as the client sent it.
    """
    return events.FrameEcho(
        sequence=sequence,
        timestamp=UNSET if timestamp is None else timestamp,
        frame_id=about.frame_id,
        camera=about.camera,
        width=about.width,
        height=about.height,
    )


def seconds(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / _NANOS


def milliseconds(time: Timestamp) -> int:
    """Return a time in ms since the epoch."""
    return time.seconds * 1000 + time.nanos // 1_000_000


def _detection(found: pb.Detection) -> events.Detection:
    box = found.box
    x1, y1 = round(box.x1, _BBOX_DECIMALS), round(box.y1, _BBOX_DECIMALS)
    x2, y2 = round(box.x2, _BBOX_DECIMALS), round(box.y2, _BBOX_DECIMALS)
    # Rounding must not make nothing of a box.
    exact = x1 == x2 or y1 == y2
    return events.Detection(
        bbox=(box.x1, box.y1, box.x2, box.y2) if exact else (x1, y1, x2, y2),
        confidence=round(found.confidence, _SCORE_DECIMALS),
    )
