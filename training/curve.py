"""A run's figures: a line of JSON for each evaluation, and a picture of them.

python -m training.curve RUN    # draws RUN/curve.svg
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.data import CLASSES
from training.errors import TrainingError

_SIZE: Final = (9.0, 4.0)


class Curve:
    """The file of a run's figures."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def add(self, point: dict[str, Any]) -> None:
        """Write the figures of an evaluation."""
        with self._path.open("a") as file:
            file.write(json.dumps(point) + "\n")

    def points(self) -> list[dict[str, Any]]:
        """Return all that was written.

        Raises:
            TrainingError: a line is damaged, other than the last, which may have been cut off.
        """
        if not self._path.exists():
            return []
        found: list[dict[str, Any]] = []
        texts = self._path.read_text().splitlines()
        for number, text in enumerate(texts, start=1):
            try:
                found.append(json.loads(text))
            except ValueError as error:
                if number < len(texts):
                    raise TrainingError(
                        f"{self._path}: line {number} is not JSON; take it out"
                    ) from error
        return found

    def cut(self, batches: int) -> None:
        """Take out what was written after the checkpoint that a run goes on from.

        Args:
            batches: that the run had done then.
        """
        kept = [point for point in self.points() if point["batches"] <= batches]
        half_written = self._path.with_suffix(".part")
        half_written.write_text("".join(json.dumps(point) + "\n" for point in kept))
        half_written.replace(self._path)


def draw(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw losses and average precisions over time.

    Args:
        points: as a curve has them.
        path: of the picture (.svg).
    """
    import matplotlib as mpl  # noqa: PLC0415 - takes a while to import, and training does not need it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "crowd-detector"  # the same figures give the same file
    figure, (left, right) = plt.subplots(1, 2, figsize=_SIZE, layout="constrained")
    minutes = [point["seconds"] / 60 for point in points]
    for name in points[0]["loss"]:
        left.plot(minutes, [point["loss"][name] for point in points], label=name)
    for name in CLASSES:
        for measure, style in (("ap50", "-"), ("ap50_95", ":")):
            heights = [point[name][measure] for point in points]
            right.plot(minutes, heights, style, label=f"{name} {measure.replace('_', '-').upper()}")
    left.set(xlabel="minutes", ylabel="loss", ylim=(0, None))
    right.set(xlabel="minutes", ylabel="average precision", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """Draw a run's curve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.curve", description=__doc__)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    try:
        points = Curve(folder / "curve.jsonl").points()
        if not points:
            raise TrainingError(f"{folder}: there is no curve.jsonl with an evaluation in it")
        draw(points, folder / "curve.svg")
    except (TrainingError, OSError) as error:
        print(f"training.curve: {error}", file=sys.stderr)
        return 1
    print(folder / "curve.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
