"""The age of a result: from the moment that its frame was due until it is in its client's hands."""

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least such a share of them does not exceed (nearest rank).

    Args:
        ordered: values, rising; at least one.
        share: in (0, 1].
    """
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def described(ages: Sequence[float]) -> dict[str, float]:
    """Return percentiles in milliseconds of ages in seconds; nothing of none."""
    if not ages:
        return {}
    ordered = sorted(ages)
    return {
        f"age_p{percent}_ms": 1000 * percentile(ordered, percent / 100) for percent in (50, 95, 99)
    }
