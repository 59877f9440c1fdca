"""Frames of many callers, waiting: the newest stay within a caller, by weighted fair queueing between flows.

Between flows it is start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng: "Start-time Fair Queueing",
SIGCOMM 1996). Each flow has a virtual time, which moves on by the working time that its frames take,
divided by its weight; the flow that is furthest behind is next. So what is shared is the *time* of the
workers, not the number of frames: a camera with large frames takes nothing from one with small ones. A
flow that had nothing waiting begins again at the present virtual time: it saves up nothing, and owes nothing.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, NamedTuple, TypeVar

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.scheduling.service_time import ServiceTime, ServiceTimes

T = TypeVar("T")

_NEVER: Final = float("inf")


@dataclass(slots=True, eq=False)
class Flow(Generic[T]):
    """What has a weight of its own: one stream, or all unary calls together; changed only by its `FairQueue`.

    Attributes:
        weight: more than 0; flows that have frames waiting get the workers' time in proportion to it.
        start: virtual seconds at which its next frame begins (the paper's start tag).
        service_time: what its frames take.
        ready: its callers that may have a frame taken (or could, when they were put here), in turn.
        waiting: frames of all its callers.
        listed: whether it has a turn.
    """

    weight: float
    start: float = 0.0
    service_time: ServiceTime = field(default_factory=ServiceTime)
    ready: "deque[Caller[T]]" = field(default_factory=deque)
    waiting: int = 0
    listed: bool = False


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


@dataclass(slots=True, eq=False, kw_only=True)
class Caller(Generic[T]):
    """What one stream or call has waiting and in work; changed only by its `FairQueue`.

    Attributes:
        capacity: frames of it that may wait, at least 1.
        max_in_flight: frames of it that may be taken and not yet released, at least 1.
        flow: whose time it gets, in turn with that flow's other callers; by default one of its own, of weight 1.
        yields: whether it gives up frames where all that wait are too many bytes.
        waiting: its frames, the oldest first.
        size: bytes that these hold.
        in_flight: frames taken and not yet released.
        left: whether nobody waits for its answers any more.
        listed: whether it is among those of its flow that have a turn.
    """

    capacity: int
    max_in_flight: int
    flow: Flow[T] = field(default_factory=lambda: Flow(1.0))
    yields: bool = True
    waiting: deque[Waiting[T]] = field(default_factory=deque)
    size: int = 0
    in_flight: int = 0
    left: bool = False
    listed: bool = False

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
    most gives up its oldest. Between flows, see the module.
    """

    def __init__(self, *, max_bytes: int | None = None) -> None:
        """Make a queue.

        Args:
            max_bytes: of all frames that wait together; None: no bound.
        """
        self._max_bytes: Final = max_bytes
        self._turns: Final[list[tuple[float, int, Flow[T]]]] = []
        self._order: Final = count()  # of flows that are level, who came first is first
        self._virtual_time = 0.0
        self._waiting: Final[dict[Caller[T], None]] = {}
        self._size = 0
        self._bytes = 0
        self._service_times: Final = ServiceTimes()

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
        """Take the next frame of the flow whose turn it is; None where nothing may be taken.

        Args:
            now: by the clock that frames expire by.

        Returns:
            The frame, and those that were passed over because their answers would come too late.
        """
        late: list[Dropped[T]] = []
        while self._turns:
            start, _, flow = heappop(self._turns)
            flow.listed = False
            caller = flow.ready.popleft()
            caller.listed = False
            late += self._pass_over(caller, now)
            if not caller.ready:
                self._list_flow(flow)
                continue
            item = self._remove_oldest(caller).item
            caller.in_flight += 1
            self._virtual_time = max(self._virtual_time, start)
            flow.start += self._service_times.charge(flow.service_time) / flow.weight
            self._list(caller)
            self._list_flow(flow)
            return Taken(caller, item), late
        return None, late

    def finish(self, taken: Taken[T], seconds: float) -> None:
        """Say how long a frame kept a worker busy; those after it are charged, and foreseen, accordingly."""
        self._service_times.add(taken.caller.flow.service_time, seconds)

    def release(self, caller: Caller[T]) -> None:
        """Say that a frame that was taken is answered, so that another may be taken in its place."""
        caller.in_flight -= 1
        self._list(caller)

    def resize(self, caller: Caller[T], capacity: int) -> list[Dropped[T]]:
        """Change how many frames of a caller may wait; return those that no longer fit, oldest first."""
        caller.capacity = capacity
        surplus = max(len(caller.waiting) - capacity, 0)
        return [self._drop_oldest(caller, pb.DROP_REASON_SUPERSEDED) for _ in range(surplus)]

    def reweigh(self, flow: Flow[T], weight: float) -> None:
        """Change a flow's weight, from its next frame on."""
        flow.weight = weight

    def leave(self, caller: Caller[T]) -> None:
        """Forget a caller and what it has waiting."""
        caller.left = True
        while caller.waiting:
            self._remove_oldest(caller)

    def expected_wait(self, flow: Flow[T], more: int, workers: int) -> float:
        """Return the seconds until a flow's waiting frames, and some more, are likely to be done.

        What waits of the others counts by their weights: while they have frames, this flow gets its part
        of the workers and no more.

        Args:
            flow: whose frames.
            more: frames that would be added now.
            workers: how many there are.
        """
        others = {each.flow for each in self._waiting} - {flow}
        part = flow.weight / (flow.weight + sum(each.weight for each in others))
        one = self._service_times.foreseen(flow.service_time)
        return max((flow.waiting + more) * one / (workers * part), one if more else 0.0)

    def refuse(self, flow: Flow[T]) -> None:
        """Foresee a little less for a flow, after work of it was refused for what was foreseen."""
        self._service_times.refuse(flow.service_time)

    def _pass_over(self, caller: Caller[T], now: float) -> list[Dropped[T]]:
        """Drop the frames of a caller that come before its next one in time."""
        late: list[Dropped[T]] = []
        if not caller.ready:
            return late
        done = now + self._service_times.foreseen(caller.flow.service_time)
        refused = False
        while caller.waiting and done > caller.waiting[0].expires:
            refused = refused or now <= caller.waiting[0].expires
            late.append(self._drop_oldest(caller, pb.DROP_REASON_LATE))
        if refused:
            self.refuse(caller.flow)
        return late

    def _add(self, caller: Caller[T], frame: Waiting[T]) -> None:
        caller.waiting.append(frame)
        caller.size += frame.size
        caller.flow.waiting += 1
        self._waiting[caller] = None
        self._size += 1
        self._bytes += frame.size

    def _remove_oldest(self, caller: Caller[T]) -> Waiting[T]:
        frame = caller.waiting.popleft()
        caller.size -= frame.size
        caller.flow.waiting -= 1
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
            caller.flow.ready.append(caller)
            self._list_flow(caller.flow)

    def _list_flow(self, flow: Flow[T]) -> None:
        if flow.ready and not flow.listed:
            flow.listed = True
            flow.start = max(flow.start, self._virtual_time)
            heappush(self._turns, (flow.start, next(self._order), flow))
