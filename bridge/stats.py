"""What this process of the bridge has done since it started; counted on the event loop's thread, read from any."""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from websockets.frames import CloseCode

#: Why connections are refused that are told no `ErrorCode`.
TCP_CONNECTIONS: Final = "TCP_CONNECTIONS"
ORIGIN_NOT_ALLOWED: Final = "ORIGIN_NOT_ALLOWED"

_OTHER: Final = "other"
#: What connections' ends count as; see `close_code`.
CLOSE_CODES: Final = (*(str(int(code)) for code in CloseCode), _OTHER)


@dataclass(slots=True)
class Stats:
    """Counts, which only grow.

    Attributes:
        connections: clients that were let in.
        messages_in: messages of theirs.
        messages_out: messages to them.
        frames: that came, also those that were dropped at once.
        results: of frames; few of their clients leave before they are told.
        abandoned: frames whose client left before there was an answer.
        dropped: frames, by the reason that their clients are told.
        refused: messages, frames and connections, by the code that their clients are told.
        alerts: that subscribers were told, by type and level, as in crowd_warning.warning.
        closed: connections, by the code that ended them; see `close_code`.
    """

    connections: int = 0
    messages_in: int = 0
    messages_out: int = 0
    frames: int = 0
    results: int = 0
    abandoned: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)

    def snapshot(self) -> dict[str, Any]:
        """Return the counts as they are now, by their names."""
        return {each.name: copy.copy(getattr(self, each.name)) for each in fields(self)}


def close_code(code: int | None) -> str:
    """Return what a connection's close counts as; clients may give codes of their own, and those are one.

    Args:
        code: of the connection; None where it broke off.
    """
    if code is None:
        return str(int(CloseCode.ABNORMAL_CLOSURE))
    return str(code) if str(code) in CLOSE_CODES else _OTHER


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by how much counts have grown; None where they have not.

    Args:
        before: of `Stats.snapshot`.
        now: likewise, later.
    """
    grown = {name: count - before[name] for name, count in now.items()}
    return grown if any(grown.values()) else None
