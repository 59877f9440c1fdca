"""Measure how good a model is, by every engine that runs it here.

    python -m training.evaluate [MODEL ...] [--data FOLDER] [--size 416 640] [--json FILE]

Pictures are those of the validation split; each class is measured on those that are labelled for it. Inputs are
rectangular, as in the service. Exit codes: 0 where it was measured, 1 where it could not be.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from training import data, finders, networks, service_engines
from training.accuracy import ClassFigures, measure
from training.data import Picture
from training.errors import TrainingError
from training.finders import Finder

_MODELS: Final = Path(__file__).resolve().parent.parent / "models"
_SHIPPED: Final = [_MODELS / "crowd-n.pt", _MODELS / "crowd-n.onnx"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """How good one model is by one engine.

    Attributes:
        model: its file's name.
        engine: with its precision: "openvino bf16".
        size: the longest side of the input, in pixels.
        classes: figures of each class.
    """

    model: str
    engine: str
    size: int
    classes: dict[str, ClassFigures]


def evaluate(
    models: Sequence[Path], pictures: Sequence[Picture], sizes: Sequence[int], engines: str = ""
) -> Iterator[Measurement]:
    """Measure models by every engine that runs them here, `.pt` files by Ultralytics' `predict` first.

    Args:
        models: files.
        pictures: labelled.
        sizes: longest sides of the input, in pixels.
        engines: only those whose name with precision contains this.

    Raises:
        TrainingError: a model cannot be loaded, or no engine has such a name.
    """
    others: dict[str, None] = {}
    measured = False
    for path in models:
        for size in sizes:
            for name, load in _finders(path, size):
                if engines not in name:
                    others[name] = None
                else:
                    measured = True
                    with load() as (engine, finder):
                        found = finders.find_in(pictures, finder)
                    yield Measurement(path.name, engine, size, measure(pictures, found))
    if others and not measured:
        raise TrainingError(
            f"--engine {engines}: no engine here is named so; these are: {', '.join(others)}"
        )


def _finders(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    """Give the ways to run a model: the engine with its precision, and what loads it."""
    if path.suffix == ".pt":

        @contextmanager
        def by_ultralytics() -> Iterator[tuple[str, Finder]]:
            yield (
                "ultralytics fp32",
                finders.ultralytics(networks.model(path), size, networks.device()),
            )

        yield "ultralytics fp32", by_ultralytics
    here, ways = service_engines.ways(path)
    for way in ways:
        named = service_engines.precision(way, here)
        yield (
            f"{way.engine} {named}",
            lambda way=way: service_engines.loaded(path, way, here, size),
        )


def lines(measurement: Measurement) -> Iterator[str]:
    """Give a measurement as lines of a table."""
    for name, figures in measurement.classes.items():
        everything = figures.sizes["all"]
        best = figures.best
        yield "  ".join(
            (
                f"{measurement.model:12}",
                f"{measurement.engine:16}",
                f"{measurement.size:4}",
                f"{name:6}",
                f"{figures.pictures:8}",
                f"{everything.boxes:6}",
                *map(
                    _cell,
                    (
                        everything.ap50,
                        everything.ap50_95,
                        figures.precision,
                        figures.recall,
                        None if best is None else best.f1,
                        None if best is None else best.threshold,
                    ),
                ),
                *(
                    f"{_cell(each.ap50)} /{each.boxes:5}"
                    for size, each in figures.sizes.items()
                    if size != "all"
                ),
            )
        )


HEADINGS: Final = "  ".join(
    (
        f"{'model':12}",
        f"{'engine':16}",
        "size",
        "class ",
        "pictures",
        " boxes",
        *(f"{name:>8}" for name in ("AP50", "AP50-95", "P@0.5", "R@0.5", "best F1", "at")),
        *(f"{name + ' AP50/n':>15}" for name in ("small", "medium", "large", "filling")),
    )
)


def _cell(figure: float | None) -> str:
    return f"{'-':>8}" if figure is None else f"{figure:8.3f}"


def main() -> int:
    """Measure; return the exit code."""
    options = _options()
    try:
        pictures = data.load(options.data, "val", options.pictures)
        print(HEADINGS)
        measured = []
        for measurement in evaluate(options.models, pictures, options.size, options.engine):
            measured.append(measurement)
            for line in lines(measurement):
                print(line, flush=True)
        if options.json:
            text = json.dumps([asdict(each) for each in measured], indent=1)
            options.json.write_text(text + "\n")
    except (TrainingError, OSError) as error:
        print(f"training.evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument(
        "models", nargs="*", type=Path, default=_SHIPPED, help="files; by default those that ship"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the shards")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[416], help="longest side of the input, in pixels"
    )
    parser.add_argument("--pictures", type=int, help="of each group (person, face, both), at most")
    parser.add_argument(
        "--engine",
        default="",
        help="only engines whose name contains this: ultralytics, openvino, fp32, bf16",
    )
    parser.add_argument("--json", type=Path, help="a file for all figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
