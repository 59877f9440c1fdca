"""What a run may be told, on the command line."""

import argparse
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from training.augmentation import Augmentation
from training.errors import TrainingError
from training.schedule import Budget, Stage, parse_stages

#: What may differ between a run and its continuation: it changes nothing that is learnt.
_FREE: Final = frozenset({"data", "run", "workers", "save_minutes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run goes; the defaults are the recipe of the first part of the model that ships.

    Attributes:
        data: the folder of the shards.
        run: the folder for the checkpoint, the curve and the weights.
        budget: what the run may take.
        architecture: the name of Ultralytics' file that describes the network.
        start: weights (.pt) to start from.
        seed: of all chance.
        batch: samples in a batch.
        rate: the highest learning rate, of AdamW.
        stages: sides of the samples, by the run's progress.
        multi_scale: each batch's side is within this share of the stage's.
        closing: the share of the run, at its end, without mosaics.
        ema: how much of the averaged weights is kept with each batch, in [0, 1).
        augmentation: how much pictures are changed.
        epoch_pictures: samples in an epoch; 0 takes as many as there are pictures.
        val_pictures: of each group, so many at most are evaluated on.
        evaluate_minutes: at the end of an epoch, where the last evaluation was so long ago.
        save_minutes: a checkpoint is written at the end of each epoch, and so often within it.
        workers: processes that make samples.
        compile: whether `torch.compile` takes the network.
        pseudo_labels: what a model found, for classes that pictures are not labelled for.
        sure: what scores more than this there is taken for a label.
        unsure: what scores less than this there is taken for nothing; between them nothing is known.
    """

    data: Path
    run: Path
    budget: Budget
    architecture: str = "yolo11n.yaml"
    start: Path | None = None
    seed: int = 0
    batch: int = 16
    rate: float = 1.5e-3
    stages: tuple[Stage, ...] = (Stage(256, 0.3), Stage(320, 0.3), Stage(416, 0.4))
    multi_scale: float = 0.0
    closing: float = 0.08
    ema: float = 0.9995
    augmentation: Augmentation = field(default_factory=Augmentation)
    epoch_pictures: int = 0
    val_pictures: int = 300
    evaluate_minutes: float = 10.0
    save_minutes: float = 5.0
    workers: int = 1
    compile: bool = False
    pseudo_labels: Path | None = None
    sure: float = 0.7
    unsure: float = 0.2

    def record(self) -> dict[str, Any]:
        """Return what makes a run what it is, as plain values."""
        values = asdict(self)
        plain: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values.items()
            if name not in _FREE
        }
        return plain

    def check_continues(self, record: dict[str, Any]) -> None:
        """Refuse to continue a run that was another.

        Raises:
            TrainingError: an option differs.
        """
        for name, value in self.record().items():
            if record.get(name) != value:
                raise TrainingError(
                    f"{self.run} holds a run with {name} {record.get(name)}, not {value}: give the same options "
                    "to continue it, or another --run to begin anew"
                )


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        TrainingError: options contradict each other.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    values = {
        each.name: getattr(given, each.name)
        for each in fields(Options)
        if getattr(given, each.name, None) is not None
    }
    augmentation = replace(
        Augmentation(),
        **{
            each.name: getattr(given, each.name)
            for each in fields(Augmentation)
            if getattr(given, each.name, None) is not None
        },
    )
    if given.stages is not None:
        values["stages"] = parse_stages(given.stages)
    options = Options(
        **values | {"budget": Budget.of(given.minutes, given.epochs), "augmentation": augmentation}
    )
    if not 0 <= options.unsure <= options.sure <= 1:
        raise TrainingError("--unsure and --sure: give 0 <= unsure <= sure <= 1")
    if not 0 <= options.multi_scale < 1:
        raise TrainingError("--multi-scale: give a share in [0, 1)")
    if options.augmentation.stretch < 0:
        raise TrainingError("--stretch: give 0 or more")
    if options.batch < 1:
        raise TrainingError("--batch: give 1 or more")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a network for people and faces. Give the same command again to go on with a run that was "
        "ended. Options without a default here have that of training/options.py.",
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("data"), help="the folder of the shards (data)")
    add(
        "--run",
        type=Path,
        required=True,
        help="a folder for the checkpoint, the curve and the weights",
    )
    add(
        "--minutes",
        type=float,
        help="how long to train and evaluate; the learning rate is fitted to it",
    )
    add("--epochs", type=int, help="instead: how often; two runs then do the same")
    add("--architecture", help="yolo11n.yaml, yolo12n.yaml, yolo26n.yaml, ...")
    add("--start", type=Path, help="weights (.pt) to start from, of any classes")
    add("--seed", type=int)
    add("--batch", type=int, help="samples in a batch (16)")
    add("--rate", type=float, help="highest learning rate (0.0015)")
    add("--stages", help="sides of samples by shares of the run (256:0.3,320:0.3,416:0.4)")
    add(
        "--multi-scale",
        type=float,
        help="0.5: batches of half to one and a half times the stage's side (0)",
    )
    add("--closing", type=float, help="share of the run, at its end, without mosaics (0.08)")
    add("--ema", type=float, help="decay of the weights' moving average (0.9995)")
    add("--mosaic", type=float, help="probability (0.75)")
    add(
        "--tile-scale",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="of a mosaic's pictures (0.35 1.1)",
    )
    add(
        "--single-scale",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="of pictures alone (0.6 1.5)",
    )
    add("--stretch", type=float, help="largest change of a picture's width by its height (0)")
    add("--copies", type=int, help="boxes of other pictures pasted in at most (0)")
    add("--flip", type=float, help="probability (0.5)")
    for colour in ("hue", "saturation", "brightness"):
        add(f"--{colour}", type=float, help="largest change, relative")
    add("--grey", type=float, help="probability (0.05)")
    add("--blur", type=float, help="probability (0.05)")
    add("--epoch-pictures", type=int, help="samples in an epoch (as many as there are pictures)")
    add("--val-pictures", type=int, help="of each group, evaluated on at most (300)")
    add("--evaluate-minutes", type=float, help="between evaluations, at least (10)")
    add("--save-minutes", type=float, help="between checkpoints, at most (5)")
    add("--workers", type=int, help="processes that make samples (1); 12 and more beside a GPU")
    add("--compile", action="store_true", default=None, help="let torch.compile take the network")
    add("--pseudo-labels", type=Path, help="what training.pseudo_labels wrote")
    add("--sure", type=float, help="pseudo labels that score more are labels (0.7)")
    add("--unsure", type=float, help="those that score less are nothing (0.2)")
    return parser
