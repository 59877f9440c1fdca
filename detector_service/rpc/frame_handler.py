"""What a worker thread does with one frame: a message in, a message out."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from detector_service.crowd.alerts import CrowdAlertLevels
from detector_service.detection.detector import Boxes
from detector_service.durations import duration
from detector_service.errors import FrameRefused
from detector_service.frame_settings import FrameSettings, InvalidFieldError, check_name
from detector_service.pipeline import Pipeline
from detector_service.rpc.status import reason_name

if TYPE_CHECKING:  # imported where frames are traced
    from detector_service.rpc.frame_trace import FrameTrace

_log = structlog.get_logger()

Answer: TypeAlias = pb.FrameResult | pb.FrameError


@dataclass(frozen=True, slots=True)
class Job:
    """One frame, on its way to a worker.

    Attributes:
        frame: as the client sent it.
        camera: its name where the frame itself has none.
        settings: what applies where the frame sets nothing.
        sequence: its number in its call, from 1.
        arrived: when it came, by time.perf_counter.
        stream: its name in the log; empty for a unary call's.
        trace: is told what becomes of it; None where nothing is traced.
    """

    frame: pb.Frame
    camera: str
    settings: FrameSettings
    sequence: int
    arrived: float
    stream: str = ""
    trace: "FrameTrace | None" = None


class FrameHandler:
    """One worker thread's work: answers a frame with a result or an error, and never raises."""

    def __init__(self, pipeline: Pipeline, levels: CrowdAlertLevels, *, debug: bool) -> None:
        """Make it.

        Args:
            pipeline: this thread's own.
            levels: the severity of crowds.
            debug: whether errors carry stack traces.
        """
        self._pipeline: Final = pipeline
        self._levels: Final = levels
        self._debug: Final = debug

    def __call__(self, job: Job, *, abandoned: Callable[[], bool]) -> Answer:
        """Answer a frame; one that is abandoned on the way gets an answer nobody will see."""
        if job.trace is None:
            return self._handle(job, abandoned)
        job.trace.begun = time.perf_counter()
        answer = self._handle(job, abandoned)
        job.trace.answered(answer)
        return answer

    def _handle(self, job: Job, abandoned: Callable[[], bool]) -> Answer:
        about = pb.FrameInfo(sequence=job.sequence)
        if job.frame.HasField("capture_time"):
            about.capture_time.CopyFrom(job.frame.capture_time)
        try:
            return self._answer(job, about, abandoned)
        except FrameRefused as refused:
            _log.warning(
                "frame.refused",
                **_whose(job, about),
                reason=reason_name(refused.reason),
                message=str(refused),
            )
            return pb.FrameError(frame=about, reason=refused.reason, message=str(refused))
        except Exception:  # noqa: BLE001 - one frame must not end the thread
            decoded = about.width > 0
            _log.exception(
                "frame.failed",
                **_whose(job, about),
                decoded=decoded,
                message=f"{'inference' if decoded else 'decoding'} failed, and the client is told so; where other "
                "frames fail as well, the exception says what to mend: the model, its engine or the machine",
            )
            return pb.FrameError(
                frame=about,
                reason=pb.ERROR_REASON_INFERENCE_FAILED
                if decoded
                else pb.ERROR_REASON_CORRUPT_IMAGE,
                message=f"{'inference' if decoded else 'decoding'} failed; the service's log says why",
                details=traceback.format_exc() if self._debug else "",
            )

    def _answer(self, job: Job, about: pb.FrameInfo, abandoned: Callable[[], bool]) -> Answer:
        started = time.perf_counter()
        settings = _checked(job, about)
        picture = self._pipeline.decode(job.frame)
        about.width, about.height = picture.width, picture.height
        decoded = time.perf_counter()
        if job.trace is not None:
            job.trace.decoded = decoded
        if abandoned():
            return pb.FrameError(frame=about)
        found, crowd = self._pipeline.find(picture, settings.confidence_threshold)
        if job.trace is not None:
            job.trace.batches = found.batches
        result = pb.FrameResult(
            frame=about,
            faces=_detections(found.faces),
            bodies=_detections(found.bodies),
            crowd=pb.CrowdAnalysis(
                face_count=crowd.face_count,
                body_count=crowd.body_count,
                total_people=crowd.total_people,
                crowd_level=crowd.level,
                density_score=crowd.density_score,
            ),
            completed_time=_now(),
        )
        self._warn(result, settings)
        finished = time.perf_counter()
        times = result.stage_times
        times.queued.CopyFrom(duration(started - job.arrived))
        times.decode.CopyFrom(duration(decoded - started))
        times.inference.CopyFrom(duration(found.inference_seconds))
        times.post_processing.CopyFrom(duration(finished - decoded - found.inference_seconds))
        result.processing_time.CopyFrom(duration(finished - job.arrived))
        return result

    def _warn(self, result: pb.FrameResult, settings: FrameSettings) -> None:
        people, threshold = result.crowd.total_people, settings.crowd_threshold
        level = self._levels.of(people, threshold)
        if level is not None:
            result.alerts.add(
                type=pb.ALERT_TYPE_CROWD_WARNING,
                level=level,
                message=f"Crowd threshold exceeded: {people} people, more than {threshold}",
                camera=result.frame.camera,
                time=result.completed_time,
                total_people=people,
                crowd_threshold=threshold,
            )


def _whose(job: Job, about: pb.FrameInfo) -> dict[str, Any]:
    """Return what the log says of where a frame is from; unary calls have no stream, nor need they name a camera."""
    known = {"stream": job.stream, "camera": about.camera, "sequence": job.sequence}
    ids = job.trace.ids if job.trace is not None else {}
    return ids | {name: value for name, value in known.items() if value}


def _checked(job: Job, about: pb.FrameInfo) -> FrameSettings:
    """Check what the client said of its frame; what is acceptable is echoed."""
    try:
        check_name(job.frame.frame_id, "frame.frame_id")
        about.frame_id = job.frame.frame_id
        check_name(job.frame.camera, "frame.camera")
        about.camera = job.frame.camera or job.camera
        return job.settings.with_message(job.frame.settings, "frame.settings")
    except InvalidFieldError as error:
        raise FrameRefused(error.reason, str(error)) from error


def _detections(boxes: Boxes) -> list[pb.Detection]:
    return [
        pb.Detection(box=pb.BoundingBox(x1=x1, y1=y1, x2=x2, y2=y2), confidence=confidence)
        for x1, y1, x2, y2, confidence in boxes.tolist()
    ]


def _now() -> Timestamp:
    whole, nanos = divmod(time.time_ns(), 1_000_000_000)
    return Timestamp(seconds=whole, nanos=nanos)
