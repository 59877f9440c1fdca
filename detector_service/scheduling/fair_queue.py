"""Frames of many callers, waiting: the newest stay within a caller, by weighted shares between callers.

Between shares it is start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng: "Start-time Fair Queueing",
SIGCOMM 1996). Each share has a virtual time, which moves on by the working time that its frames take,
divided by its weight; the share that is furthest behind is next. So what is shared is the *time* of the
workers, not the number of frames: a camera with large frames takes nothing from one with small ones. A
share that had nothing waiting begins again at the present virtual time: it saves up nothing, and owes nothing.
"""

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, NamedTuple, TypeVar

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.scheduling.service_time import ServiceTime

T = TypeVar("T")

_NEVER: Final = float("inf")

#: Seconds of work that one frame counts at most where shares are charged. One that took longer was stuck; its
#: camera, if others have frames all the time, would otherwise not be served until all had caught up with that.
_MOST_CHARGED: Final = 1.0

#: How much the newest frame counts in what the frames of all take.
_GAIN_OF_ALL: Final = 1 / 64

#: A share whose frames take no less and no more than this, in parts of what those of all take, is charged what those
#: of all take: what is measured of cameras of one kind differs by chance alone.
_ALIKE: Final = (2 / 3, 3 / 2)


class Share(Generic[T]):
    """A part of the workers' time: that of one stream, or of all unary calls; changed only by its `FairQueue`."""

    __slots__ = ("cost", "listed", "ready", "start", "waiting", "weight", "work")

    def __init__(self, weight: float) -> None:
        """Make a share.

        Args:
            weight: more than 0; shares that have frames waiting get time in proportion to it.
        """
        self.weight = weight
        #: Virtual seconds at which its next frame begins.
        self.start = 0.0
        #: How long its frames take.
        self.work: Final = ServiceTime()
        #: Likewise, as it is charged.
        self.cost: Final = ServiceTime()
        #: Its callers that may have a frame taken (or could, when they were put here), in turn.
        self.ready: Final[deque[Caller[T]]] = deque()
        self.waiting = 0
        self.listed = False


class Waiting(NamedTuple, Generic[T]):
    """A frame that waits.

    Attributes:
        item: the frame.
        size: bytes that it holds.
        expires: when its answer is of no use any more, by the clock of whoever calls the queue.
    """

    item: T
    size: int
    expires: float


class Caller(Generic[T]):
    """What one stream or call has waiting and in work; changed only by its `FairQueue`."""

    __slots__ = (
        "capacity",
        "in_flight",
        "left",
        "listed",
        "max_in_flight",
        "share",
        "size",
        "waiting",
        "yields",
    )

    def __init__(
        self,
        *,
        capacity: int,
        max_in_flight: int,
        share: Share[T] | None = None,
        yields: bool = True,
    ) -> None:
        """Make a caller.

        Args:
            capacity: frames of it that may wait, at least 1.
            max_in_flight: frames of it that may be taken and not yet released, at least 1.
            share: whose time it gets, in turn with that share's other callers; by default one of its own,
                of weight 1.
            yields: whether it gives up frames where all that wait are too many bytes.
        """
        self.capacity = capacity
        self.max_in_flight: Final = max_in_flight
        self.share: Final[Share[T]] = share or Share(1.0)
        self.yields: Final = yields
        self.waiting: deque[Waiting[T]] = deque()
        self.size = 0
        self.in_flight = 0
        self.left = False
        self.listed = False

    @property
    def ready(self) -> bool:
        """Whether its next frame may be taken."""
        return bool(self.waiting) and self.in_flight < self.max_in_flight


class Taken(NamedTuple, Generic[T]):
    """A frame that a worker has.

    Attributes:
        caller: whose it is.
        item: the frame.
    """

    caller: Caller[T]
    item: T


class Dropped(NamedTuple, Generic[T]):
    """A frame that no worker will get.

    Attributes:
        caller: whose it was.
        item: the frame.
        reason: SUPERSEDED, LATE or MEMORY_LIMITED.
    """

    caller: Caller[T]
    item: T
    reason: pb.DropReason.ValueType


class FairQueue(Generic[T]):
    """Bounded frame buffers of all callers, from which workers take frames.

    Within a caller frames leave in the order they came, and where one comes too many the *oldest* goes:
    who watches live wants what is, not what was. Where all that wait hold too many bytes, the caller with the
    most gives up its oldest. Between shares, see the module.
    """

    def __init__(self, *, max_bytes: int | None = None) -> None:
        """Make a queue.

        Args:
            max_bytes: of all frames that wait together; None: no bound.
        """
        self._max_bytes: Final = max_bytes
        self._turns: Final[list[tuple[float, int, Share[T]]]] = []
        self._order: Final = count()  # of shares that are level, who came first is first
        self._virtual_time = 0.0
        self._waiting: Final[dict[Caller[T], None]] = {}
        self._size = 0
        self._bytes = 0
        self._work: Final = ServiceTime()
        self._cost: Final = ServiceTime(_GAIN_OF_ALL)

    def __len__(self) -> int:
        """How many frames are waiting."""
        return self._size

    @property
    def waiting_bytes(self) -> int:
        """How many bytes the frames that wait hold."""
        return self._bytes

    def push(
        self, caller: Caller[T], item: T, *, size: int = 0, expires: float = _NEVER, free: int = 0
    ) -> list[Dropped[T]]:
        """Add a frame; return the frames that had to make room for it, of this caller or of others.

        Args:
            caller: whose it is.
            item: the frame.
            size: bytes that it holds.
            expires: when its answer is of no use any more.
            free: workers that have nothing to do. Frames that they are about to take count as taken: a
                lone camera whose frames come in pairs loses none.
        """
        if caller.left:
            return [Dropped(caller, item, pb.DROP_REASON_SUPERSEDED)]
        self._add(caller, Waiting(item, size, expires))
        about_to_be_taken = min(
            free - (self._size - len(caller.waiting)), caller.max_in_flight - caller.in_flight
        )
        dropped = []
        while len(caller.waiting) > caller.capacity + max(about_to_be_taken, 0):
            dropped.append(self._drop_oldest(caller, pb.DROP_REASON_SUPERSEDED))
        while self._max_bytes is not None and self._bytes > self._max_bytes:
            yielding = [each for each in self._waiting if each.yields]
            if not yielding:
                break
            most = max(yielding, key=lambda each: each.size)
            dropped.append(self._drop_oldest(most, pb.DROP_REASON_MEMORY_LIMITED))
        self._list(caller)
        return dropped

    def take(self, now: float) -> tuple[Taken[T] | None, list[Dropped[T]]]:
        """Take the next frame of the share whose turn it is; None where nothing may be taken.

        Args:
            now: by the clock that frames expire by.

        Returns:
            The frame, and those that were passed over because their answers would come too late.
        """
        late: list[Dropped[T]] = []
        while self._turns:
            start, _, share = heappop(self._turns)
            share.listed = False
            caller = share.ready.popleft()
            caller.listed = False
            late += self._pass_over(caller, now)
            if not caller.ready:
                self._list_share(share)
                continue
            item = self._remove_oldest(caller).item
            caller.in_flight += 1
            self._virtual_time = max(self._virtual_time, start)
            share.start += self._charge(share) / share.weight
            self._list(caller)
            self._list_share(share)
            return Taken(caller, item), late
        return None, late

    def finish(self, taken: Taken[T], seconds: float) -> None:
        """Say how long a frame kept a worker busy; those after it are charged, and foreseen, accordingly."""
        share, cost = taken.caller.share, min(seconds, _MOST_CHARGED)
        share.work.add(seconds)
        self._work.add(seconds)
        if not share.cost.known and self._cost.known:
            share.cost.add(self._cost.mean)  # a share is like the others until it shows otherwise
        share.cost.add(cost)
        self._cost.add(cost)

    def release(self, caller: Caller[T]) -> None:
        """Say that a frame that was taken is answered, so that another may be taken in its place."""
        caller.in_flight -= 1
        self._list(caller)

    def resize(self, caller: Caller[T], capacity: int) -> list[Dropped[T]]:
        """Change how many frames of a caller may wait; return those that no longer fit, oldest first."""
        caller.capacity = capacity
        surplus = max(len(caller.waiting) - capacity, 0)
        return [self._drop_oldest(caller, pb.DROP_REASON_SUPERSEDED) for _ in range(surplus)]

    def reweigh(self, share: Share[T], weight: float) -> None:
        """Change a share's weight, from its next frame on."""
        share.weight = weight

    def leave(self, caller: Caller[T]) -> None:
        """Forget a caller and what it has waiting."""
        caller.left = True
        while caller.waiting:
            self._remove_oldest(caller)

    def foreseen(self, share: Share[T]) -> float:
        """Return the seconds that the next frame of a share is likely to take; 0 before the very first."""
        return share.work.mean or self._work.mean

    def expected_wait(self, share: Share[T], more: int, workers: int) -> float:
        """Return the seconds until a share's waiting frames, and some more, are likely to be done.

        What waits of the others counts by their weights: while they have frames, this share gets its part
        of the workers and no more.

        Args:
            share: whose frames.
            more: frames that would be added now.
            workers: how many there are.
        """
        others = {each.share for each in self._waiting} - {share}
        part = share.weight / (share.weight + sum(each.weight for each in others))
        one = self.foreseen(share)
        return max((share.waiting + more) * one / (workers * part), one if more else 0.0)

    def doubt(self, share: Share[T]) -> None:
        """Foresee a little less for a share, after work of it was refused for what was foreseen."""
        share.work.mean = self.foreseen(
            share
        )  # its own from now on: the others' is none of its business
        share.work.doubt()

    def _charge(self, share: Share[T]) -> float:
        """Return the seconds of work that a share's next frame is charged."""
        least, most = (part * self._cost.mean for part in _ALIKE)
        own = share.cost.mean
        return own if share.cost.known and not least <= own <= most else self._cost.mean

    def _pass_over(self, caller: Caller[T], now: float) -> list[Dropped[T]]:
        """Drop the frames of a caller that come before its next one in time."""
        late: list[Dropped[T]] = []
        if not caller.ready:
            return late
        share = caller.share
        while caller.waiting and now + self.foreseen(share) > caller.waiting[0].expires:
            if now <= caller.waiting[0].expires:
                self.doubt(share)
            late.append(self._drop_oldest(caller, pb.DROP_REASON_LATE))
        return late

    def _add(self, caller: Caller[T], frame: Waiting[T]) -> None:
        caller.waiting.append(frame)
        caller.size += frame.size
        caller.share.waiting += 1
        self._waiting[caller] = None
        self._size += 1
        self._bytes += frame.size

    def _remove_oldest(self, caller: Caller[T]) -> Waiting[T]:
        frame = caller.waiting.popleft()
        caller.size -= frame.size
        caller.share.waiting -= 1
        if not caller.waiting:
            del self._waiting[caller]
        self._size -= 1
        self._bytes -= frame.size
        return frame

    def _drop_oldest(self, caller: Caller[T], reason: pb.DropReason.ValueType) -> Dropped[T]:
        return Dropped(caller, self._remove_oldest(caller).item, reason)

    def _list(self, caller: Caller[T]) -> None:
        if caller.ready and not caller.listed:
            caller.listed = True
            caller.share.ready.append(caller)
            self._list_share(caller.share)

    def _list_share(self, share: Share[T]) -> None:
        if share.ready and not share.listed:
            share.listed = True
            share.start = max(share.start, self._virtual_time)
            heappush(self._turns, (share.start, next(self._order), share))
