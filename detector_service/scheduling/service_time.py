"""How long frames keep a worker busy: what is foreseen of the next, and charged for it, from those before.

What is not begun is not measured: where work is refused for what was foreseen, one bad moment would go on refusing for
ever. So each refusal lowers what is foreseen, until a frame is tried that shows how things are now.
"""

from dataclasses import dataclass
from typing import Final

#: How much a flow's newest frame counts: the gain of the smoothed round-trip time (RFC 6298, section 2).
_GAIN: Final = 1 / 8
#: How much the newest frame counts in what the frames of all flows take. Little: who is charged one thing and who is
#: charged another a moment later do not get their shares, so it had better be wrong for a while than change fast.
_GAIN_OF_ALL: Final = 1 / 64

#: A flow whose frames take no less and no more than this, in parts of what those of all take, is charged what those
#: of all take: what is measured of cameras of one kind differs by chance alone.
_ALIKE: Final = (2 / 3, 3 / 2)

#: One frame counts no more seconds than this, or times what the frames of all take. One that took longer was stuck: its
#: camera would otherwise, if others have frames all the time, not be served until all had caught up with that.
_MOST_SECONDS: Final = 1.0
_MOST_TIMES: Final = 8

#: What is left of what was foreseen after a refusal.
_LEFT: Final = 7 / 8


@dataclass(slots=True)
class ServiceTime:
    """What the frames of one flow take; changed only by `ServiceTimes`.

    Attributes:
        mean: seconds, a moving mean; 0 before its first frame.
        refusals: since a frame of it was last measured.
    """

    mean: float = 0.0
    refusals: int = 0


class ServiceTimes:
    """What frames take: those of each flow, and those of all."""

    def __init__(self) -> None:
        #: Seconds, of the frames of all; 0 before the very first.
        self.mean = 0.0

    def add(self, flow: ServiceTime, seconds: float) -> None:
        """Count a frame of a flow; a flow is like the others until it shows otherwise."""
        if self.mean:
            seconds = min(seconds, max(_MOST_SECONDS, _MOST_TIMES * self.mean))
        before = flow.mean or self.mean or seconds
        # A frame that was tried after refusals, and took less, shows that what led to them is over.
        gain = 1 if flow.refusals and seconds < before else _GAIN
        flow.mean = before + (seconds - before) * gain
        flow.refusals = 0
        self.mean += (seconds - self.mean) * (_GAIN_OF_ALL if self.mean else 1)

    def refuse(self, flow: ServiceTime) -> None:
        """Count that work of a flow was refused for what was foreseen."""
        flow.refusals += 1

    def foreseen(self, flow: ServiceTime) -> float:
        """Return the seconds that a flow's next frame is likely to take; 0 before the very first of all."""
        return (flow.mean or self.mean) * _LEFT**flow.refusals

    def charge(self, flow: ServiceTime) -> float:
        """Return the seconds of work that a flow's next frame is charged."""
        least, most = (part * self.mean for part in _ALIKE)
        return flow.mean if flow.mean and not least <= flow.mean <= most else self.mean
