"""What the service has done since it started; counted on the event loop's thread, read from any."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import psutil
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from detector_service.durations import duration, seconds
from detector_service.timings import STAGES, Timings

_LAG_SAMPLES: Final = 1200  # a minute of them, see telemetry.event_loop
_RECENT: Final = 4096  # frames; enough for the percentiles of a minute
_NANOS: Final = 1_000_000_000
#: Seconds. A result that would be older, or of the future, says that the client's clock goes wrong.
_OLDEST: Final = 3600.0


@dataclass(slots=True)
class Stats:
    """Counts and sums; `snapshot` makes means of them, and `metrics` exports them.

    Attributes:
        timings: is told how long things took.
        received: frames that came, on streams and in calls.
        processed: frames that got a result.
        misdated: results whose capture time cannot be.
        abandoned: frames whose caller left before they were answered.
        active_streams: open now.
        drops: frames dropped, by reason.
        errors: frames that got an error, by reason.
        refusals: calls and streams that ended with a status other than OK, by reason.
        alerts: that results carried, by type and level.
        batches: those that engines ran which serve no more, by the images in them.
        recent: seconds that the last results took.
        loop_lag: seconds, of the last minute.
    """

    timings: Timings = field(default_factory=Timings)
    received: int = 0
    processed: int = 0
    misdated: int = 0
    abandoned: int = 0
    active_streams: int = 0
    drops: Counter[pb.DropReason.ValueType] = field(default_factory=Counter)
    errors: Counter[pb.ErrorReason.ValueType] = field(default_factory=Counter)
    refusals: Counter[pb.ErrorReason.ValueType] = field(default_factory=Counter)
    alerts: Counter[tuple[pb.AlertType.ValueType, pb.AlertLevel.ValueType]] = field(
        default_factory=Counter
    )
    batches: Counter[int] = field(default_factory=Counter)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    loop_lag: deque[float] = field(default_factory=lambda: deque(maxlen=_LAG_SAMPLES))
    _started: float = field(default_factory=time.monotonic)
    _processing: float = 0.0
    _stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def answered(self, answer: pb.FrameResult | pb.FrameError) -> None:
        """Count an answer."""
        if isinstance(answer, pb.FrameError):
            self.errors[answer.reason] += 1
            return
        self.processed += 1
        took = seconds(answer.processing_time)
        self._processing += took
        self.recent.append(took)
        self.timings.frame(took)
        for stage in STAGES:
            took = seconds(getattr(answer.stage_times, stage))
            self._stages[stage] += took
            self.timings.stage(stage, took)
        for alert in answer.alerts:
            self.alerts[alert.type, alert.level] += 1
        if answer.frame.HasField("capture_time"):
            self._captured(answer.frame.capture_time)

    def lagged(self, lag: float) -> None:
        """Note how late the event loop ran what was due, in seconds."""
        self.loop_lag.append(lag)
        self.timings.lag(lag)

    def _captured(self, when: Timestamp) -> None:
        age = time.time() - (when.seconds + when.nanos / _NANOS)
        if 0 <= age <= _OLDEST:
            self.timings.age(age)
        else:
            self.misdated += 1

    def snapshot(self, *, queued: int) -> pb.GetStatsResponse:
        """Return the figures as they are now.

        Args:
            queued: frames that wait for a worker.
        """
        frames = max(self.processed, 1)
        lags = sorted(self.loop_lag)
        return pb.GetStatsResponse(
            total_frames_processed=self.processed,
            average_processing_time=duration(self._processing / frames),
            uptime=duration(time.monotonic() - self._started),
            active_streams=self.active_streams,
            frames_received=self.received,
            drops=[
                pb.DropCount(reason=reason, count=count)
                for reason, count in sorted(self.drops.items())
            ],
            errors=[
                pb.ErrorCount(reason=reason, count=count)
                for reason, count in sorted(self.errors.items())
            ],
            queued_frames=queued,
            average_stage_times=pb.StageTimes(
                **{stage: duration(total / frames) for stage, total in self._stages.items()}
            ),
            resident_memory_bytes=psutil.Process().memory_info().rss,
            event_loop_lag_p99=duration(lags[len(lags) * 99 // 100] if lags else 0.0),
            frames_abandoned=self.abandoned,
        )
