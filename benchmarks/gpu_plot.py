"""The figures of a GPU as a picture.

python -m benchmarks.gpu_plot RESULTS IMAGE
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib import ticker

_SIZE: Final = (8.0, 4.0)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw images a second and latency by the size of a batch, of one thread that starts a batch and waits for it.

    Args:
        results: as `benchmarks.gpu` writes them.
        path: of the picture.
    """
    mpl.rcParams["svg.hashsalt"] = "crowd-detector"
    figure, (rates, latencies) = plt.subplots(1, 2, figsize=_SIZE, layout="constrained")
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in results["engine"]:
        graphs = "CUDA graphs" if row["graphs"] else "step by step"
        name = f"{row['width']} x {row['height']}, {row['precision']}, {graphs}"
        lines.setdefault(name, []).append((row["batch"], row["latency_p50_ms"]))
    for name, points in lines.items():
        points.sort()
        batches, took = zip(*points, strict=True)
        rates.plot(batches, [1000 * n / ms for n, ms in points], marker="o", label=name)
        latencies.plot(batches, took, marker="o", label=name)
    for axes, what in ((rates, "images a second"), (latencies, "ms from pixels to detections")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axes.set_xticks([1, 2, 4, 8, 16, 32])
        axes.set_xlabel("images in a batch")
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    latencies.legend(fontsize=7)
    figure.suptitle(f"PyTorch's engine on {results['machine']['gpu']}", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
