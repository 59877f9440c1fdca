"""The results as pictures, from a results file.

    python -m benchmarks.plots RESULTS FOLDER

matplotlib is imported here and in gpu_plot.py alone of what `make bench` runs, which installs it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib import ticker

from benchmarks import peers
from benchmarks.endpoints import TRANSPORTS
from benchmarks.plan import HALF, MAIN, SATURATION, STREAMS, TWICE
from benchmarks.rounds import IN_PROCESS
from benchmarks.setups import EMBEDDED

_SIZE: Final = (8.0, 4.0)
_LOADS: Final = (HALF, SATURATION, TWICE)
_AGES: Final = (("age_p50_ms", "p50"), ("age_p95_ms", "p95"), ("age_p99_ms", "p99"))
#: The service's transports in blue, its peers in warm colours.
_COLOURS: Final = dict(
    zip(
        (*TRANSPORTS, *(peer.name for peer in peers.PEERS)),
        ("#08306b", "#2171b5", "#6baed6", "#c6dbef", "#a63603", "#d94801", "#f16913", "#fdae6b"),
        strict=True,
    )
)


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw throughput, ages and a frame's cost with the embedded model; return the files.

    Args:
        results: as `make bench` writes them.
        folder: for the pictures.
    """
    # Without a date and with fixed names inside, the same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "crowd-detector"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in results["medians"] if row["setup"] == EMBEDDED]
    if not rows:
        return []
    written = [_throughput(rows, folder), _old(rows, folder)]
    if results.get("cost"):
        written.append(_cost(results["cost"], folder))
    return written


def _throughput(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    names = list(dict.fromkeys(row["contender"] for row in rows if row["streams"]))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        heights = {
            row["streams"]: row["fps"]
            for row in rows
            if row["contender"] == name and row["load"] == SATURATION
        }
        positions = [
            index + (place - len(names) / 2 + 0.5) * width for index in range(len(STREAMS))
        ]
        counts = [heights.get(count, 0) for count in STREAMS]
        axes.bar(positions, counts, width, label=name, color=_COLOURS[name])
    limit = next(row["fps"] for row in rows if row["contender"] == IN_PROCESS)
    axes.axhline(limit, color="black", linewidth=1, linestyle="--", label=IN_PROCESS)
    axes.set_xticks(range(len(STREAMS)), [str(count) for count in STREAMS])
    axes.set_xlabel("streams")
    axes.set_ylabel("frames/s, saturated")
    figure.legend(fontsize="small", ncols=4, loc="outside upper center")
    return _save(figure, folder / "benchmark-throughput.svg")


def _old(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Draw how old results are, by load; the scale is logarithmic, for some queue without an end."""
    figure, panels = plt.subplots(1, len(_LOADS), figsize=_SIZE, sharey=True, layout="constrained")
    for axes, load in zip(panels, _LOADS, strict=True):
        found = [
            row
            for row in rows
            if row["load"] == load and row["streams"] == MAIN and "age_p50_ms" in row
        ]
        names = [row["contender"].replace(", ", ",\n") for row in found]
        for key, label in _AGES:
            axes.plot(names, [row[key] for row in found], "o", label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(axis="y", which="both", linewidth=0.3)
        axes.set_title(f"load: {load}", fontsize="medium")
        axes.tick_params(axis="x", labelrotation=90)
    panels[0].set_ylabel(f"age of a result, ms ({MAIN} streams)")
    panels[0].legend(fontsize="small")
    return _save(figure, folder / "benchmark-ages.svg")


def _cost(cost: dict[str, Any], folder: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8.0, 1.8), layout="constrained")
    left = 0.0
    for name, value in (cost["parts_ms"] | {"rest": cost["rest_ms"]}).items():
        axes.barh([0], [value], left=left, label=f"{name} {value:.2f}")
        left += max(value, 0)
    axes.set_yticks([])
    axes.set_xlabel("processor time for a frame, ms")
    axes.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return _save(figure, folder / "benchmark-cost.svg")


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
