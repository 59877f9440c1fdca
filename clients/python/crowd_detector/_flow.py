"""Which frame goes out next, and which frame an answer is for: no I/O, no clock, no lock.

A frame is *waiting* until it is sent, *outstanding* until the service has answered it or said that it was
dropped, and *in flight* from when it is sent until the caller has taken its answer. So whoever does not
take answers stops the sending, and what is kept is bounded.
"""

from collections import Counter, deque
from enum import StrEnum
from typing import Final

from crowd.detector.v1 import detector_pb2 as pb

from crowd_detector._messages import to_drops, to_frame_error, to_result
from crowd_detector.errors import FrameError
from crowd_detector.frames import Frame
from crowd_detector.results import (
    DropReason,
    Result,
    StreamSummary,
)


class WhenFull(StrEnum):
    """What becomes of a frame that comes while as many as allowed are in flight.

    Example:
        >>> WhenFull("newest") is WhenFull.NEWEST
        True
    """

    #: It waits, and the source with it: for files, where every frame counts.
    WAIT = "wait"
    #: It takes the place of the one that waits: for cameras, where only now counts.
    NEWEST = "newest"


class Flow:
    """The frames of one stream, over all of its connections."""

    def __init__(self, *, max_in_flight: int, when_full: WhenFull) -> None:
        self._max_in_flight: Final = max_in_flight
        self._newest: Final = when_full is WhenFull.NEWEST
        self._waiting: Final[deque[Frame]] = deque()
        self._unanswered: Final[deque[tuple[int, Frame]]] = deque()  # by number in the call
        self._sent = 0  # in this call
        self._told = 0  # of the unanswered: the service said that so many were dropped, not which
        self._not_taken = 0  # answers that the caller has yet to take
        self._ended = False
        self._frames = self._results = self._errors = 0
        self._dropped: Final[Counter[DropReason]] = Counter()
        self._unreported: Final[Counter[DropReason]] = Counter()
        self.reconnections = 0

    @property
    def has_room(self) -> bool:
        """Whether the source may be asked for one more frame."""
        return self._newest or not self._waiting

    @property
    def outstanding(self) -> int:
        """Frames that the service has yet to answer."""
        return max(len(self._unanswered) - self._told, 0)

    @property
    def full(self) -> bool:
        """Whether as many frames as allowed are in flight."""
        return self.outstanding + self._not_taken >= self._max_in_flight

    @property
    def all_sent(self) -> bool:
        """Whether no frame waits, and none will come."""
        return self._ended and not self._waiting

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.all_sent and self.outstanding == 0

    def summary(self) -> StreamSummary:
        """Return what became of the frames so far."""
        return StreamSummary(
            self._frames, self._results, self._errors, dict(self._dropped), self.reconnections
        )

    def offer(self, frame: Frame) -> None:
        """Take a frame from the source."""
        self._frames += 1
        if self._newest and self._waiting:
            self._waiting.popleft()
            self._drop(DropReason.SUPERSEDED, 1)
        self._waiting.append(frame)

    def end(self) -> None:
        """Say that the source has no more frames."""
        self._ended = True

    def begin_call(self) -> None:
        """Say that a call begins; its frames are counted anew."""
        self._sent = 0

    def take(self) -> Frame | None:
        """Return the frame to be sent now, if any."""
        if not self._waiting or self.full:
            return None
        frame = self._waiting.popleft()
        self._sent += 1
        self._unanswered.append((self._sent, frame))
        return frame

    def answer(self, response: pb.StreamDetectionsResponse) -> Result | FrameError | None:
        """Take a message of the service; return the answer to a frame that it holds, if any.

        Answers come in the order of their frames: one for frame n says that those before it will have none.
        """
        for reason, count in to_drops(response.drops).items():
            self._told += count
            self._drop(reason, count)
        match response.WhichOneof("message"):
            case "result":
                frame = self._frame_of(response.result.frame.sequence)
                self._results += 1
                return to_result(response.result, frame, self._report())
            case "error":
                frame = self._frame_of(response.error.frame.sequence)
                self._errors += 1
                return to_frame_error(response.error, frame, self._report())
        return None

    def taken(self) -> None:
        """Say that the caller has taken an answer."""
        self._not_taken -= 1

    def lost(self) -> None:
        """Say that the connection is no more.

        Where every frame counts, what was not answered is sent again; otherwise it is too old for that.
        """
        remaining = [frame for _, frame in self._unanswered]
        # Which were dropped is not known. Those that wait were sent too soon: the last.
        del remaining[max(len(remaining) - self._told, 0) :]
        self._unanswered.clear()
        self._told = 0
        if self._newest:
            self._drop(DropReason.CONNECTION_LOST, len(remaining))
        else:
            self._waiting.extendleft(reversed(remaining))

    def _frame_of(self, number: int) -> Frame | None:
        self._not_taken += 1
        while self._unanswered and self._unanswered[0][0] <= number:
            sent_as, frame = self._unanswered.popleft()
            if sent_as == number:
                return frame
            if self._told:
                self._told -= 1
            else:
                self._drop(DropReason.UNKNOWN, 1)  # the service passed it over without a word
        return None

    def _drop(self, reason: DropReason, count: int) -> None:
        if count:
            self._dropped[reason] += count
            self._unreported[reason] += count

    def _report(self) -> dict[DropReason, int]:
        drops = dict(self._unreported)
        self._unreported.clear()
        return drops
