"""What this process of the bridge has done since it started; counted on the event loop's thread only."""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Stats:
    """Counts, which only grow.

    Attributes:
        connections: clients that were let in.
        messages_in: messages of theirs.
        messages_out: messages to them.
        frames: that came, also those that were dropped at once.
        results: of frames, that were sent.
        dropped: frames, by the reason that their clients are told.
        refused: messages and connections, by the code that their clients are told.
    """

    connections: int = 0
    messages_in: int = 0
    messages_out: int = 0
    frames: int = 0
    results: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def snapshot(self) -> dict[str, Any]:
        """Return the counts as they are now, by their names."""
        return {each.name: copy.copy(getattr(self, each.name)) for each in fields(self)}


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by how much counts have grown; None where they have not.

    Args:
        before: of `Stats.snapshot`.
        now: likewise, later.
    """
    grown = {name: count - before[name] for name, count in now.items()}
    return grown if any(grown.values()) else None
