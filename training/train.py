"""Train a network for people and faces on pictures that are labelled for one or both.

    python -m training.train --data FOLDER --run FOLDER --minutes 100

Writes into the run's folder checkpoint.pt (the same command goes on from it), curve.jsonl, and at the end
weights.pt for training.calibrate. Exit codes: 0 where it came to its end, 1 where it could not go on.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import torch
from ultralytics.utils.torch_utils import ModelEMA

from training import (
    accuracy,
    checkpoint,
    data,
    finders,
    loss,
    networks,
    options,
    pseudo_labels,
    samples,
    schedule,
)
from training.curve import Curve
from training.data import CLASSES, Picture
from training.errors import TrainingError
from training.options import Options

#: Of the mean loss's gradient: Ultralytics' 10, which is of the sum over a batch, at a batch of 16.
_LONGEST_GRADIENT: Final = 10 / 16
_WEIGHT_DECAY: Final = 5e-4
#: In batches; the moving average follows faster before (Ultralytics 8.4, ``ModelEMA``).
_EMA_START: Final = 1000
_REPORT_SECONDS: Final = 10.0
_LOSSES: Final = ("box", "class", "distribution")


class Run:
    """A run: from its beginning, or from where its checkpoint left it."""

    def __init__(
        self, how: Options, train: Sequence[Picture], val: Sequence[Picture], device: torch.device
    ) -> None:
        """Prepare.

        Args:
            how: the run goes.
            train: pictures to learn from.
            val: pictures to evaluate on.
            device: where the network is.

        Raises:
            TrainingError: the architecture, the start's weights or the checkpoint cannot be used.
        """
        self._how: Final = how
        self._train: Final = train
        self._val: Final = val
        self._device: Final = device
        self._curve: Final = Curve(how.run / "curve.jsonl")
        self._checkpoint: Final = how.run / "checkpoint.pt"
        pictures = how.epoch_pictures or len(train)
        self._epoch_batches: Final = -(-pictures // how.batch)
        torch.manual_seed(how.seed)
        network = networks.create(how.architecture, how.start).to(device)
        self._network: Final = network.to(memory_format=torch.channels_last)
        self._forward: Final[Callable[[torch.Tensor], Any]] = (
            torch.compile(self._network) if how.compile else self._network
        )
        self._loss: Final = loss.criterion(self._network)
        average: Any = ModelEMA  # it has no types
        self._ema: Final = average(self._network, decay=how.ema, tau=_EMA_START)
        self._optimiser: Final = _optimiser(self._network, how.rate)
        self._precision: Final = _precision(device)
        self._scaler: Final = torch.amp.GradScaler(
            device.type, enabled=self._precision is torch.float16
        )
        self._losses = torch.zeros(len(_LOSSES), device=device)
        self._losses_of = 0
        self._batches = self._batches_before = 0
        self._epoch_began = 0.0  # the run's progress then
        self._evaluated = 0.0  # the run's seconds then
        self._seconds_before = 0.0
        self._began = time.monotonic()
        self._resume()

    @property
    def network(self) -> Any:
        """The network with its averaged weights."""
        return self._ema.ema

    @property
    def seconds(self) -> float:
        """What the run took until now, without the time between its parts."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def progress(self) -> float:
        """How far the run is, in [0, 1]."""
        return self._how.budget.progress(self.seconds, self._batches / self._epoch_batches)

    def train(self) -> None:
        """Train until the budget is spent, evaluate, and write the weights.

        Raises:
            TrainingError: the losses are no numbers any more.
        """
        while self.progress < 1:
            self._epoch()
            done = self.progress >= 1
            if done or self.seconds - self._evaluated >= self._how.evaluate_minutes * 60:
                self._evaluate()
            self._save()
        networks.write(self.network, self._how.run / "weights.pt", self._how.stages[-1].side)

    def _epoch(self) -> None:
        """Train for an epoch, or what is left of it or of the budget."""
        done = self._batches % self._epoch_batches
        if not done:
            self._epoch_began = self.progress
        saved = reported = self.seconds
        left = self._epoch_batches - done
        for batch in samples.batches(
            self._train, self._plan(), self._batches, left, self._how.workers
        ):
            self._step(batch)
            if self.seconds - reported >= _REPORT_SECONDS:
                reported = self.seconds
                self._report(batch["img"].shape[2])
            if self.seconds - saved >= self._how.save_minutes * 60:
                saved = self.seconds
                self._save()
            if self._how.budget.seconds is not None and self.progress >= 1:
                return

    def _plan(self) -> samples.Plan:
        how, at = self._how, self._epoch_began
        mosaic = schedule.mosaic_at(how.augmentation.mosaic, how.closing, at)
        return samples.Plan(
            seed=how.seed,
            batch=how.batch,
            side=schedule.stage_at(how.stages, at).side,
            multi_scale=how.multi_scale,
            augmentation=replace(how.augmentation, mosaic=mosaic),
        )

    def _step(self, batch: dict[str, Any]) -> None:
        rate = schedule.learning_rate(self._how.rate, self.progress)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss.set_progress(self._loss, self.progress)
        there = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
        images = there["img"].float().div(255).contiguous(memory_format=torch.channels_last)
        self._network.train()
        with torch.autocast(self._device.type, self._precision, self._precision != torch.float32):
            answers = self._forward(images)
        losses, items = self._loss(_single_precision(answers), there)
        self._scaler.scale(losses.sum() / len(images)).backward()
        self._scaler.unscale_(self._optimiser)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), _LONGEST_GRADIENT)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad()
        self._ema.update(self._network)
        self._losses += torch.stack(list(items.values()))
        self._losses_of += 1
        self._batches += 1

    def _report(self, side: int) -> None:
        progress, seconds = self.progress, self.seconds
        rate = (self._batches - self._batches_before) * self._how.batch
        pace = rate / (seconds - self._seconds_before)
        left = seconds / progress * (1 - progress) if progress else 0.0
        mean = self._mean_losses()
        print(
            f"{progress:6.1%}  {left / 60:.1f} min left  epoch {self._batches / self._epoch_batches:.2f}  side {side}  "
            f"{pace:.1f} samples/s  " + "  ".join(f"{name} {mean[name]:.3f}" for name in _LOSSES),
            flush=True,
        )

    def _mean_losses(self) -> dict[str, float]:
        """Return the losses since the last evaluation."""
        mean = (self._losses / max(self._losses_of, 1)).tolist()
        return {name: round(value, 5) for name, value in zip(_LOSSES, mean, strict=True)}

    def _evaluate(self) -> None:
        side = self._how.stages[-1].side
        model = networks.wrapped(self.network)
        finder = finders.ultralytics(model, side, str(self._device))
        figures = accuracy.measure(self._val, finders.find_in(self._val, finder))
        point: dict[str, Any] = {
            "seconds": round(self.seconds, 1),
            "batches": self._batches,
            "epoch": round(self._batches / self._epoch_batches, 3),
            "side": side,
            "loss": self._mean_losses(),
        }
        for name in CLASSES:
            every = figures[name].sizes["all"]
            point[name] = {"ap50": every.ap50, "ap50_95": every.ap50_95}
        self._curve.add(point)
        print(f"evaluated: {point}", flush=True)
        self._losses.zero_()
        self._losses_of = 0
        self._evaluated = self.seconds

    def _save(self) -> None:
        """Write the checkpoint.

        Raises:
            TrainingError: the losses are no numbers any more; the checkpoint stays what it was.
        """
        if not torch.isfinite(self._losses).all():
            raise TrainingError(
                f"the losses are not finite after {self._batches} batches; begin anew with a lower --rate than "
                f"{self._how.rate:g}, in another --run"
            )
        checkpoint.save(
            self._checkpoint,
            {
                "options": self._how.record(),
                "network": self._network.state_dict(),
                "ema": self._ema.ema.state_dict(),
                "ema_updates": self._ema.updates,
                "optimiser": self._optimiser.state_dict(),
                "scaler": self._scaler.state_dict(),
                "chance": torch.get_rng_state(),
                "batches": self._batches,
                "epoch_began": self._epoch_began,
                "seconds": self.seconds,
                "evaluated": self._evaluated,
                "losses": self._losses,
                "losses_of": self._losses_of,
            },
        )

    def _resume(self) -> None:
        """Take over the checkpoint's state, if there is one."""
        state = checkpoint.load(self._checkpoint)
        if state is None:
            self._how.run.mkdir(parents=True, exist_ok=True)
            self._curve.cut(-1)
            return
        self._how.check_continues(state["options"])
        self._network.load_state_dict(state["network"])
        self._ema.ema.load_state_dict(state["ema"])
        self._ema.updates = state["ema_updates"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["chance"])
        self._batches = self._batches_before = state["batches"]
        self._epoch_began = state["epoch_began"]
        self._seconds_before = state["seconds"]
        self._evaluated = state["evaluated"]
        self._losses = state["losses"].to(self._device)
        self._losses_of = state["losses_of"]
        self._curve.cut(self._batches)
        print(
            f"going on after {self._batches} batches and {self._seconds_before / 60:.1f} minutes",
            flush=True,
        )


def _optimiser(network: Any, rate: float) -> torch.optim.Optimizer:
    """Return AdamW, which lets only the weights of layers decay, not their biases and norms."""
    parameters = list(network.parameters())
    return torch.optim.AdamW(
        [
            {
                "params": [each for each in parameters if each.ndim > 1],
                "weight_decay": _WEIGHT_DECAY,
            },
            {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=rate,
        fused=parameters[0].is_cuda,
    )


def _precision(device: torch.device) -> torch.dtype:
    """Return what to compute in: bf16 where the device has it, else fp16 on a GPU."""
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float16
        )
    from detector_service.engines import openvino  # noqa: PLC0415 - it knows what the processor has

    return torch.bfloat16 if openvino.choose_precision("auto") == "bf16" else torch.float32


def _single_precision(answers: Any) -> Any:
    """Return a network's answers at 32 bits, which losses need."""
    if isinstance(answers, dict):
        return {name: _single_precision(part) for name, part in answers.items()}
    if isinstance(answers, list):
        return [_single_precision(part) for part in answers]
    return answers.float()


def main() -> int:
    """Train; return the exit code."""
    try:
        how = options.parse()
        device = torch.device(networks.device())
        train = data.load(how.data, "train")
        if how.pseudo_labels is not None:
            found = pseudo_labels.read(how.pseudo_labels)
            train = [
                pseudo_labels.with_labels(picture, found, unsure=how.unsure, sure=how.sure)
                for picture in train
            ]
        val = data.load(how.data, "val", how.val_pictures)
        print(
            f"{len(train)} pictures to learn from, {len(val)} to evaluate on; on {device}",
            flush=True,
        )
        Run(how, train, val, device).train()
    except (TrainingError, OSError) as error:
        print(f"training.train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # the checkpoint is there
        sys.exit(main())
    sys.exit(130)
