"""A picture of the service's own, which takes the way of every frame."""

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import simplejpeg
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.frame_settings import FrameSettings
from detector_service.rpc.frame_handler import Answer, Job
from detector_service.scheduling.workers import Workers

#: The camera that the log names where the service's own picture fails.
CAMERA: Final = "health-probe"

#: Of the shape that models are made ready for at the start, so that it costs no compilation; and so small that no
#: limit of frames that can be set refuses it. Pixels.
_WIDTH: Final = 64
_HEIGHT: Final = 36
_SETTINGS: Final = FrameSettings(confidence_threshold=0.5, crowd_threshold=10)


@cache
def picture() -> bytes:
    """Return the picture, as JPEG: colours that run into each other."""
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    colours = np.stack([rows * 7, columns * 4, rows * 3 + columns * 2], axis=-1).astype(np.uint8)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(colours), quality=60)
    return encoded


def look(workers: Workers[Job, Answer], done: Callable[[Answer], None]) -> None:
    """Put the picture before the workers.

    It takes a seat of its own each time, so its turn comes once each stream has had a frame looked at, at the latest. It
    is none of what the service counts.

    Args:
        workers: that look at it.
        done: is called on the event loop with the answer.
    """

    def deliver(_: int, answer: Answer) -> None:
        workers.leave(seat)
        done(answer)

    def drop(job: Job, reason: pb.DropReason.ValueType) -> None:
        raise AssertionError(f"{job.camera}: {reason}")  # it never expires, and yields to no frame

    seat = workers.join(deliver, drop, capacity=1, max_in_flight=1, yields=False)
    frame = pb.Frame(encoded=picture())
    workers.put(seat, Job(frame, CAMERA, _SETTINGS, sequence=1, arrived=time.perf_counter()))
