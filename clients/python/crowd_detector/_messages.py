"""What comes out, from the contract's messages."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from crowd.detector.v1 import detector_pb2 as pb

from crowd_detector._times import to_datetime, to_seconds
from crowd_detector.errors import FrameError
from crowd_detector.frames import Frame
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
)

_Enum = TypeVar("_Enum", bound=StrEnum)


def _by_number(values: Any, prefix: str, enum: type[_Enum]) -> dict[int, _Enum]:
    """Return the members of an enum of ours by their numbers in the contract."""
    return {
        number: enum[name.removeprefix(prefix)] for name, number in values.items() if number != 0
    }


_CROWD_LEVELS: Final = _by_number(pb.CrowdLevel, "CROWD_LEVEL_", CrowdLevel)
_ALERT_TYPES: Final = _by_number(pb.AlertType, "ALERT_TYPE_", AlertType)
_ALERT_LEVELS: Final = _by_number(pb.AlertLevel, "ALERT_LEVEL_", AlertLevel)
_DROP_REASONS: Final = _by_number(pb.DropReason, "DROP_REASON_", DropReason)


def reason_name(reason: int) -> str:
    """Return an error's reason without its prefix; of a newer service's, the number."""
    try:
        return pb.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")  # type: ignore[arg-type]
    except ValueError:
        return str(reason)


def to_drops(counts: Iterable[pb.DropCount]) -> dict[DropReason, int]:
    """Return drops by reason."""
    drops: dict[DropReason, int] = {}
    for each in counts:
        reason = _DROP_REASONS.get(each.reason, DropReason.UNKNOWN)
        drops[reason] = drops.get(reason, 0) + each.count
    return drops


def to_result(
    message: pb.FrameResult,
    frame: Frame | None = None,
    dropped: Mapping[DropReason, int] | None = None,
) -> Result:
    """Return a result."""
    about, crowd = message.frame, message.crowd
    return Result(
        frame_id=about.frame_id,
        camera=about.camera,
        sequence=about.sequence,
        width=about.width,
        height=about.height,
        faces=_to_detections(message.faces),
        bodies=_to_detections(message.bodies),
        crowd=Crowd(
            crowd.face_count,
            crowd.body_count,
            crowd.total_people,
            _CROWD_LEVELS.get(crowd.crowd_level, CrowdLevel.UNKNOWN),
            crowd.density_score,
        ),
        alerts=tuple(_to_alert(alert) for alert in message.alerts),
        stage_times=_to_stage_times(message.stage_times),
        processing_time=to_seconds(message.processing_time),
        completed_time=to_datetime(message.completed_time),
        capture_time=to_datetime(about.capture_time) if about.HasField("capture_time") else None,
        dropped=dropped or {},
        frame=frame,
    )


def to_frame_error(
    message: pb.FrameError,
    frame: Frame | None = None,
    dropped: Mapping[DropReason, int] | None = None,
) -> FrameError:
    """Return a frame's error."""
    about = message.frame
    return FrameError(
        message.message,
        reason=reason_name(message.reason),
        frame=frame,
        frame_id=about.frame_id,
        camera=about.camera,
        sequence=about.sequence,
        capture_time=to_datetime(about.capture_time) if about.HasField("capture_time") else None,
        details=message.details,
        dropped=dropped or {},
    )


def to_models(message: pb.GetModelInfoResponse) -> Models:
    """Return the models that serve."""
    return Models(face=_to_model(message.face_model), body=_to_model(message.body_model))


def to_stats(message: pb.GetStatsResponse) -> Stats:
    """Return statistics."""
    return Stats(
        total_frames_processed=message.total_frames_processed,
        average_processing_time=to_seconds(message.average_processing_time),
        uptime=to_seconds(message.uptime),
        active_streams=message.active_streams,
        frames_received=message.frames_received,
        frames_abandoned=message.frames_abandoned,
        dropped=to_drops(message.drops),
        errors={reason_name(each.reason): each.count for each in message.errors},
        queued_frames=message.queued_frames,
        average_stage_times=_to_stage_times(message.average_stage_times),
        resident_memory_bytes=message.resident_memory_bytes,
        event_loop_lag_p99=to_seconds(message.event_loop_lag_p99),
    )


def _to_detections(messages: Iterable[pb.Detection]) -> tuple[Detection, ...]:
    return tuple(
        Detection(Box(box.x1, box.y1, box.x2, box.y2), each.confidence)
        for each in messages
        for box in (each.box,)
    )


def _to_alert(message: pb.Alert) -> Alert:
    return Alert(
        type=_ALERT_TYPES.get(message.type, AlertType.UNKNOWN),
        level=_ALERT_LEVELS.get(message.level, AlertLevel.UNKNOWN),
        message=message.message,
        camera=message.camera,
        time=to_datetime(message.time),
        alert_id=message.alert_id,
        total_people=message.total_people,
        crowd_threshold=message.crowd_threshold,
    )


def _to_stage_times(message: pb.StageTimes) -> StageTimes:
    return StageTimes(
        to_seconds(message.queued),
        to_seconds(message.decode),
        to_seconds(message.inference),
        to_seconds(message.post_processing),
    )


def _to_model(message: pb.ModelInfo) -> Model:
    return Model(
        loaded=message.loaded,
        path=message.path,
        device=message.device,
        format=message.format,
        engine=message.engine,
        precision=message.precision,
        classes=tuple(message.classes),
        counted_classes=tuple(message.counted_classes),
        input_size=message.input_size,
        content_sha256=message.content_sha256,
        embedded=message.embedded,
    )
