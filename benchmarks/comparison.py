"""A quick run beside the committed results."""

from collections.abc import Mapping, Sequence


def lines(
    now: Mapping[str, float], committed: Mapping[str, float], names: Sequence[str]
) -> list[str]:
    """Return a line for each ratio: what it is, what the committed file says, and how they differ.

    Args:
        now: ratios as just measured.
        committed: the committed file's.
        names: which of them.
    """
    found = [f"{'':24} {'now':>7} {'committed':>10} {'differs by':>11}"]
    for name in names:
        line = f"{name:24} {now[name]:7.3f}"
        if name in committed:
            line += f" {committed[name]:10.3f} {100 * (now[name] / committed[name] - 1):+10.1f} %"
        else:
            line += f" {'none':>10}"
        found.append(line)
    return found
