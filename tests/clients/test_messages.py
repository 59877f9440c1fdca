"""What comes out, from messages."""

import json
from datetime import UTC, datetime

from crowd.detector.v1 import detector_pb2 as pb
from crowd_detector import AlertLevel, AlertType, CrowdLevel, DropReason
from crowd_detector._messages import to_drops, to_frame_error, to_result


def message() -> pb.FrameResult:
    """Return a result with everything in it."""
    result = pb.FrameResult(
        frame=pb.FrameInfo(frame_id="7", camera="door", sequence=3, width=640, height=480),
        faces=[
            pb.Detection(box=pb.BoundingBox(x1=1, y1=2, x2=3, y2=4), confidence=0.5),
        ],
        crowd=pb.CrowdAnalysis(
            face_count=1, total_people=1, crowd_level=pb.CROWD_LEVEL_LOW, density_score=0.25
        ),
        alerts=[
            pb.Alert(type=pb.ALERT_TYPE_CROWD_WARNING, level=pb.ALERT_LEVEL_CRITICAL, message="!")
        ],
    )
    result.frame.capture_time.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    result.completed_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    result.processing_time.FromMilliseconds(45)
    result.stage_times.inference.FromMilliseconds(40)
    return result


def test_everything_is_there() -> None:
    """In types of Python's own, and once more for JSON."""
    result = to_result(message(), None, {DropReason.SUPERSEDED: 2})
    assert (result.frame_id, result.camera, result.sequence) == ("7", "door", 3)
    assert result.capture_time == datetime(2026, 1, 1, tzinfo=UTC)
    assert (result.processing_time, result.stage_times.inference) == (0.045, 0.04)
    assert (result.faces[0].box.width, result.faces[0].box.height) == (2, 2)
    assert result.crowd.level is CrowdLevel.LOW
    assert (result.alerts[0].type, result.alerts[0].level) == (
        AlertType.CROWD_WARNING,
        AlertLevel.CRITICAL,
    )
    as_json = json.loads(json.dumps(result.as_dict()))
    assert as_json["faces"] == [{"box": [1, 2, 3, 4], "confidence": 0.5}]
    assert as_json["crowd"]["level"] == "low"
    assert as_json["dropped"] == {"superseded": 2}
    assert as_json["capture_time"] == "2026-01-01T00:00:00+00:00"


def test_what_a_newer_service_says_is_unknown_and_not_an_error() -> None:
    """An enum's number that this library has no name for."""
    newer = message()
    newer.crowd.crowd_level = 99  # type: ignore[assignment]
    newer.alerts[0].type = 99  # type: ignore[assignment]
    result = to_result(newer)
    assert result.crowd.level is CrowdLevel.UNKNOWN
    assert result.alerts[0].type is AlertType.UNKNOWN
    assert to_drops([pb.DropCount(reason=99, count=2), pb.DropCount(reason=98, count=1)]) == {  # type: ignore[arg-type]
        DropReason.UNKNOWN: 3
    }
    assert to_frame_error(pb.FrameError(reason=99)).reason == "99"  # type: ignore[arg-type]


def test_a_result_has_its_value() -> None:
    """Two of the same message are equal; the frame that was sent plays no part."""
    assert to_result(message()) == to_result(message())
