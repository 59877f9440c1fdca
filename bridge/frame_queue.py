"""The messages of one connection that are not answered yet, in their order; no I/O, no clock.

Three things meet here: the newest frame wins, answers leave in the order of what they answer, and the detector
names a frame by its number in the call.
"""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from crowd.detector.v1 import detector_pb2 as pb

from bridge import translation
from bridge.events import Number

if TYPE_CHECKING:  # imported where frames are traced
    from bridge.frame_trace import FrameTrace


#: Why frames are dropped whose client has left, for their traces.
CONNECTION_CLOSED: Final = "connection_closed"


class Message(NamedTuple):
    """What is sent to the client.

    Attributes:
        data: its bytes.
        text: whether it is a WebSocket text message.
    """

    data: bytes
    text: bool


@dataclass(slots=True, eq=False)
class Entry:
    """A message of the client's, on its way to an answer.

    Attributes:
        sequence: its number on the connection, from 1.
        timestamp: the client's own, to be echoed.
        request: the frame, as it is sent to the detector: a serialised StreamDetectionsRequest; None where it
            was sent and need not be sent again, or where there is only an answer.
        size: bytes of the request.
        config: of the stream, as it was when the frame came.
        answer: ready to be sent, once it is its turn.
        call_sequence: its number in the detector's call, from 1; 0 while it waits.
        tries: calls that ended while they had it.
        arrived: when it came, by time.perf_counter; None where there is only an answer.
        trace: is told where it is dropped; None where nothing is traced.
    """

    sequence: int
    timestamp: Number | None = None
    request: bytes | None = None
    size: int = 0
    config: pb.StreamConfig | None = None
    answer: Message | None = None
    call_sequence: int = 0
    tries: int = 0
    arrived: float | None = None
    trace: "FrameTrace | None" = None

    @property
    def trace_ids(self) -> dict[str, str]:
        """What a line of the log about it says of its trace."""
        return {} if self.trace is None else self.trace.ids


class Losses(NamedTuple):
    """What became of the frames of a call that ended.

    Attributes:
        lost: frames that will not be answered.
        given_up: a frame that was with too many calls as they ended; it is to be answered with an error.
    """

    lost: int
    given_up: Entry | None


class FrameQueue:
    """Frames that wait, frames that a detector has, and answers that wait for their turn."""

    def __init__(self, *, max_frames: int, max_bytes: int, max_tries: int) -> None:
        """Make an empty queue.

        Args:
            max_frames: that may wait.
            max_bytes: of them together; one frame may wait whatever its size.
            max_tries: calls that a frame may be with as they end.
        """
        self._max_frames: Final = max_frames
        self._max_bytes: Final = max_bytes
        self._max_tries: Final = max_tries
        self._entries: Final[deque[Entry]] = deque()
        self._waiting: Final[deque[Entry]] = deque()
        self._waiting_bytes = 0
        self._sent = 0
        self._in_flight = 0
        self._newest: Entry | None = None  # of those that were sent; it keeps its request

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def in_flight(self) -> int:
        """Frames that the detector has."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Frames that the detector has not."""
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """Frames that the detector was sent in this call."""
        return self._sent

    def next_config(self) -> pb.StreamConfig | None:
        """Return the configuration of the frame to be sent next; None where none waits."""
        return self._waiting[0].config if self._waiting else None

    def replace_config(self, old: pb.StreamConfig, new: pb.StreamConfig) -> None:
        """Have frames that wait served under another configuration."""
        for entry in self._waiting:
            if entry.config is old:
                entry.config = new

    def put_frame(self, entry: Entry, reason: str = "superseded") -> int:
        """Add a frame; return how many older ones it takes the place of.

        Args:
            entry: with a request.
            reason: why those are dropped, for their traces.
        """
        self._entries.append(entry)
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        dropped = 0
        while len(self._waiting) > self._max_frames or (
            self._waiting_bytes > self._max_bytes and len(self._waiting) > 1
        ):
            self._drop(self._take_waiting(), reason)
            dropped += 1
        return dropped

    def put_answer(self, entry: Entry) -> None:
        """Add what is answered already, and may be told after the frames before it."""
        self._entries.append(entry)

    def next_frame(self) -> Entry | None:
        """Return the frame to be sent next, as sent; None where none waits."""
        if not self._waiting:
            return None
        entry = self._take_waiting()
        self._sent += 1
        self._in_flight += 1
        entry.call_sequence = self._sent
        if self._newest is not None:
            self._newest.request = None
        self._newest = entry
        return entry

    def answered(self, call_sequence: int, reason: str = "detector") -> Entry | None:
        """Return the frame that an answer speaks of; None where there is no such frame.

        Frames that were sent before it were dropped by the detector, which counts them.

        Args:
            call_sequence: its number in the call.
            reason: why those before it were dropped, for their traces.
        """
        self.dropped(call_sequence - 1, reason)
        for entry in self._entries:
            if entry.call_sequence == call_sequence > 0:
                self._in_flight -= 1
                entry.call_sequence = 0
                entry.request = None
                if entry is self._newest:
                    self._newest = None
                return entry
        return None

    def dropped(self, call_sequence: int, reason: str = "detector") -> None:
        """Forget the frames up to this one: the detector has dropped those that it has not answered."""
        for entry in [each for each in self._entries if 0 < each.call_sequence <= call_sequence]:
            self._in_flight -= 1
            self._drop(entry, reason)
            if entry is self._newest:
                self._newest = None

    def ready(self, *, in_order: bool) -> Entry | None:
        """Return what is to be answered next, with its answer; None where there is none yet.

        Args:
            in_order: whether the frames before it must be answered first.
        """
        for entry in self._entries:
            if entry.answer is not None:
                self._entries.remove(entry)
                return entry
            if in_order:
                break
        return None

    def call_ended(self, *, had_them: bool) -> Losses:
        """Forget the frames that a call had.

        The newest is kept, to be sent again, unless a newer one waits: whoever waits for an answer before
        sending more would otherwise wait for ever.

        Args:
            had_them: whether the call ever answered anything.
        """
        newest, given_up = self._newest, None
        lost = [entry for entry in self._entries if entry.call_sequence]
        self._newest = None
        self._in_flight = self._sent = 0
        if newest is not None and not self._waiting:
            lost.remove(newest)
            newest.call_sequence = 0
            newest.tries += had_them
            if newest.tries < self._max_tries:
                self._waiting.append(newest)
                self._waiting_bytes += newest.size
            else:
                newest.request = None
                given_up = newest
        for entry in lost:
            self._drop(entry, translation.LOST)
        return Losses(len(lost), given_up)

    def clear(self) -> int:
        """Forget everything: nobody waits for an answer any more; return how many frames had none yet."""
        abandoned = sum(entry.answer is None for entry in self._entries)
        for entry in list(self._entries):
            self._drop(entry, CONNECTION_CLOSED)
        self._waiting.clear()
        self._waiting_bytes = self._in_flight = 0
        self._newest = None
        return abandoned

    def _drop(self, entry: Entry, reason: str) -> None:
        self._entries.remove(entry)
        if entry.trace is not None:
            entry.trace.dropped(reason)

    def _take_waiting(self) -> Entry:
        entry = self._waiting.popleft()
        self._waiting_bytes -= entry.size
        return entry
