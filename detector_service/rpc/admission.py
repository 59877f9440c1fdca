"""Which unary calls are taken on: no more than can be served soon, and none that would be too late."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.rpc.status import CallRefused

#: A refused caller is told to try again after seconds between these two, whatever was computed.
_SOONEST: Final = 0.1
_LATEST: Final = 60.0


class Admission:
    """Counts what unary calls hold; for the event loop's thread."""

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        """Make it.

        Args:
            max_frames: images of unary calls that may be waiting or in work.
            max_bytes: of their requests.
        """
        self._max_frames: Final = max_frames
        self._max_bytes: Final = max_bytes
        self.frames = 0
        self.bytes = 0

    @contextmanager
    def admitted(
        self, frames: int, size: int, *, wait: float, remaining: float | None
    ) -> Iterator[None]:
        """Take a call on; it holds its places as long as the context lasts.

        Args:
            frames: images in it.
            size: its request's bytes.
            wait: seconds until it is likely to be answered, if it is taken on.
            remaining: seconds until its deadline; None: it has none.

        Raises:
            TooLate: it would not be answered in time.
            Overloaded: as many images or bytes as allowed are waiting. The caller is told to come once what
                waits now is done.
        """
        if self.frames + frames > self._max_frames:
            raise Overloaded(
                f"{self.frames} images are waiting, and MAX_QUEUED_FRAMES allows "
                f"{self._max_frames}; try again later",
                wait,
            )
        if self.bytes + size > self._max_bytes:
            raise Overloaded(
                f"images of {self.bytes:,} bytes are waiting, and MAX_BUFFERED_BYTES leaves unary calls "
                f"{self._max_bytes:,}; try again later, or send smaller images",
                wait,
            )
        if remaining is not None and wait > remaining:
            raise TooLate(wait, remaining)
        self.frames += frames
        self.bytes += size
        try:
            yield
        finally:
            self.frames -= frames
            self.bytes -= size


class Overloaded(CallRefused):
    """More than can be served; RESOURCE_EXHAUSTED says after how many seconds to try again."""

    def __init__(self, message: str, retry_after: float) -> None:
        """Make it.

        Args:
            message: for the caller.
            retry_after: seconds, as computed.
        """
        super().__init__(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            pb.ERROR_REASON_OVERLOADED,
            message,
            retry_after=min(max(retry_after, _SOONEST), _LATEST),
        )


class TooLate(Overloaded):
    """A call that could not be answered before its deadline, so that no work is spent on it."""

    def __init__(self, wait: float, remaining: float) -> None:
        """Make it.

        Args:
            wait: seconds until it would be answered.
            remaining: seconds until its deadline.
        """
        super().__init__(
            f"the answer would take about {wait:.3g} s, and the call's deadline comes in {max(remaining, 0):.3g} s; "
            "try again later, or allow more time",
            wait - remaining,
        )
