"""What the service did between two looks at its figures, for its log."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from detector_service.durations import seconds
from detector_service.rpc.status import drop_name, reason_name
from detector_service.timings import STAGES

_MIB: Final = 1024 * 1024


def difference(
    before: pb.GetStatsResponse, now: pb.GetStatsResponse, recent: Iterable[float]
) -> dict[str, Any] | None:
    """Return what was done meanwhile; None where there was nothing to do.

    Args:
        before: figures of the service.
        now: likewise, later.
        recent: seconds that the last results took, each.
    """
    received = now.frames_received - before.frames_received
    processed = now.total_frames_processed - before.total_frames_processed
    abandoned = now.frames_abandoned - before.frames_abandoned
    dropped = _more(before.drops, now.drops, drop_name)
    failed = _more(before.errors, now.errors, reason_name)
    if not (received or processed or abandoned or dropped or failed):
        return None

    def mean(old: Duration, new: Duration) -> float:
        total = seconds(new) * now.total_frames_processed
        total -= seconds(old) * before.total_frames_processed
        return _ms(total / max(processed, 1))

    took = sorted(recent)
    passed = seconds(now.uptime) - seconds(before.uptime)
    return {
        "frames_received": received,
        "frames_processed": processed,
        "frames_dropped": dropped,
        "frames_failed": failed,
        "frames_abandoned": abandoned,
        "fps": round(processed / max(passed, 1e-3), 2),
        "processing_ms": mean(before.average_processing_time, now.average_processing_time),
        "processing_p50_ms": _ms(_percentile(took, 50)),
        "processing_p95_ms": _ms(_percentile(took, 95)),
        "stages_ms": {
            stage: mean(
                getattr(before.average_stage_times, stage), getattr(now.average_stage_times, stage)
            )
            for stage in STAGES
        },
        "streams": now.active_streams,
        "frames_queued": now.queued_frames,
        "memory_mib": round(now.resident_memory_bytes / _MIB),
        "loop_lag_p99_ms": _ms(seconds(now.event_loop_lag_p99)),
    }


def _more(before: Iterable[Any], now: Iterable[Any], name: Any) -> dict[str, int]:
    """Return by how much counts have grown, by their reasons' names."""
    old = {each.reason: each.count for each in before}
    grown = {each.reason: each.count - old.get(each.reason, 0) for each in now}
    return {name(reason): count for reason, count in grown.items() if count}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of all are at most; 0 where there are none."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else 0.0


def _ms(value: float) -> float:
    return round(value * 1000, 2)
