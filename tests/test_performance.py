"""What the service did between two looks at its figures."""

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from structlog.testing import capture_logs

from detector_service.durations import duration
from detector_service.performance import difference
from detector_service.stats import Stats
from tests.servers import connected, serving


def _result(took: float) -> pb.FrameResult:
    return pb.FrameResult(
        processing_time=duration(took), stage_times=pb.StageTimes(inference=duration(took / 2))
    )


def test_means_are_of_what_was_done_meanwhile() -> None:
    """What was done before does not count; where nothing was done there is nothing to say."""
    stats = Stats(received=10)
    for _ in range(10):
        stats.answered(_result(5.0))
    stats.recent.clear()
    before = stats.snapshot(queued=0)
    assert difference(before, stats.snapshot(queued=0), stats.recent) is None
    stats.received += 104
    stats.drops[pb.DROP_REASON_SUPERSEDED] += 3
    for number in range(1, 101):
        stats.answered(_result(number / 1000))
    stats.answered(pb.FrameError(reason=pb.ERROR_REASON_CORRUPT_IMAGE))
    done = difference(before, stats.snapshot(queued=2), stats.recent)
    assert done is not None
    assert (done["frames_received"], done["frames_processed"]) == (104, 100)
    assert done["frames_dropped"] == {"SUPERSEDED": 3}
    assert done["frames_failed"] == {"CORRUPT_IMAGE": 1}
    assert done["frames_queued"] == 2
    assert done["fps"] > 0
    assert done["processing_ms"] == pytest.approx(50.5, abs=0.02)
    assert done["stages_ms"]["inference"] == pytest.approx(25.25, abs=0.02)
    assert done["stages_ms"]["decode"] == 0
    assert done["processing_p50_ms"] == pytest.approx(51)
    assert done["processing_p95_ms"] == pytest.approx(96)
    assert done["memory_mib"] > 0


@pytest.mark.parametrize("frames", [0, 2])
async def test_the_last_minute_is_told_at_the_end(photo: bytes, frames: int) -> None:
    """An idle service has nothing to tell."""
    with capture_logs() as lines:
        async with serving() as service, connected(service.address) as stub:
            for _ in range(frames):
                await stub.Detect(pb.DetectRequest(frame=pb.Frame(encoded=photo)))
    told = [line for line in lines if line["event"] == "service.performance"]
    assert sum(line["frames_processed"] for line in told) == frames
    assert bool(told) is bool(frames)
