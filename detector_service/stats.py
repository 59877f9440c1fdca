"""What the service has done since it started; counted on the event loop's thread only."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import psutil
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.durations import duration, seconds

_LAG_SAMPLES: Final = 1200  # a minute of them, see server._watch_loop
_RECENT: Final = 4096  # frames; enough for the percentiles of a minute


@dataclass(slots=True)
class Stats:
    """Counts and sums; `snapshot` makes means of them. `recent` has the seconds that the last results took."""

    received: int = 0
    processed: int = 0
    abandoned: int = 0
    active_streams: int = 0
    drops: Counter[pb.DropReason.ValueType] = field(default_factory=Counter)
    errors: Counter[pb.ErrorReason.ValueType] = field(default_factory=Counter)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    loop_lag: deque[float] = field(default_factory=lambda: deque(maxlen=_LAG_SAMPLES))
    _started: float = field(default_factory=time.monotonic)
    _processing: float = 0.0
    _stages: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("queued", "decode", "inference", "post_processing"), 0.0
        )
    )

    def answered(self, answer: pb.FrameResult | pb.FrameError) -> None:
        """Count an answer."""
        if isinstance(answer, pb.FrameError):
            self.errors[answer.reason] += 1
            return
        self.processed += 1
        took = seconds(answer.processing_time)
        self._processing += took
        self.recent.append(took)
        for stage in self._stages:
            self._stages[stage] += seconds(getattr(answer.stage_times, stage))

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
