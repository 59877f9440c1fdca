"""A run that is killed goes on as if nothing had been."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import shards
from training import data, networks, options, samples, train
from training.errors import TrainingError
from training.train import Run

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of each group in each split."""
    return shards.small_set(tmp_path_factory.mktemp("data"))


def arguments(folder: Path, run: Path, *more: str) -> list[str]:
    """Return a short run's command line: two epochs of three batches, saved after each."""
    given = ["--data", folder, "--run", run, "--epochs", 2, "--batch", 2, "--stages", "64:1"]
    given += ["--workers", 0, "--evaluate-minutes", 0, "--save-minutes", 0, *more]
    return [str(each) for each in given]


def prepare(folder: Path, run: Path, *more: str) -> Run:
    """Return a run, at its beginning or where it was left."""
    how = options.parse(arguments(folder, run, *more))
    return Run(how, data.load(folder, "train"), data.load(folder, "val"), CPU)


def killed_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have samples end with an error."""
    made = samples.batches

    def batches_until(*given: Any) -> Iterator[dict[str, Any]]:
        for number, batch in enumerate(made(*given)):
            if given[2] + number == batches:
                raise KilledError
            yield batch

    monkeypatch.setattr(samples, "batches", batches_until)


def points(run: Path) -> list[dict[str, Any]]:
    """Return a run's curve, without times."""
    lines = (run / "curve.jsonl").read_text().splitlines()
    return [json.loads(line) | {"seconds": None} for line in lines]


def test_a_killed_run_comes_to_what_an_unbroken_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: weights, curve and what is written at the end."""
    unbroken = prepare(folder, tmp_path / "unbroken")
    unbroken.train()
    with monkeypatch.context() as fault:
        killed_after(4, fault)
        with pytest.raises(KilledError):
            prepare(folder, tmp_path / "broken").train()
    assert not (tmp_path / "broken" / "weights.pt").exists()
    broken = prepare(folder, tmp_path / "broken")
    assert 0.6 < broken.progress < 0.7
    broken.train()
    for name, weights in unbroken.network.state_dict().items():
        assert torch.equal(weights, broken.network.state_dict()[name]), name
    assert points(tmp_path / "broken") == points(tmp_path / "unbroken")
    assert [point["epoch"] for point in points(tmp_path / "broken")] == [1, 2]
    assert set(points(tmp_path / "broken")[0]["loss"]) == {"box", "class", "distribution"}
    network = networks.read(tmp_path / "broken" / "weights.pt")
    assert network.names == {0: "person", 1: "face"}


def test_a_run_is_continued_with_its_own_options_only(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another is refused, with the option that differs; how many workers there are does not matter."""
    killed_after(1, monkeypatch)
    with pytest.raises(KilledError):
        prepare(folder, tmp_path).train()
    prepare(folder, tmp_path, "--save-minutes", "1")
    monkeypatch.setattr("sys.argv", ["train", *arguments(folder, tmp_path, "--rate", "0.1")])
    assert train.main() == 1
    assert "holds a run with rate 0.0015, not 0.1" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    """And not begun anew over it."""
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: damaged"):
        prepare(folder, tmp_path)


def test_a_run_that_went_astray_ends_and_keeps_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    """It is said what to change."""
    run = prepare(folder, tmp_path, "--rate", "1e30")
    with pytest.raises(TrainingError, match=r"not finite after . batches; .* lower --rate than 1e"):
        run.train()
    assert not (tmp_path / "weights.pt").exists()
    assert prepare(folder, tmp_path, "--rate", "1e30").progress < 1


def test_a_run_ends_with_its_time(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the epoch, and evaluates; time left is told on the way."""
    how = options.parse(
        [each if each != "--epochs" else "--minutes" for each in arguments(folder, tmp_path)]
        + ["--minutes", "0.01", "--epoch-pictures", "100000"]
    )
    pictures = data.load(folder, "train")
    run = Run(how, pictures, pictures, CPU)
    run.train()
    (point,) = points(tmp_path)
    assert point["batches"] >= 1
    assert point["epoch"] < 1


def test_a_start_from_other_weights_takes_what_fits(folder: Path, tmp_path: Path) -> None:
    """Here all of it: those that ship know the same classes."""
    shipped = Path(__file__).resolve().parents[2] / "models" / "crowd-n.pt"
    run = prepare(folder, tmp_path, "--start", str(shipped))
    expected = networks.read(shipped).state_dict()
    for name, weights in run.network.state_dict().items():
        assert torch.equal(weights, expected[name]), name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--sure", "0.1"], "--unsure and --sure"),
        (["--multi-scale", "1"], "--multi-scale"),
        (["--stretch", "-0.1"], "--stretch"),
        (["--batch", "0"], "--batch"),
        (["--minutes", "3"], "--minutes or --epochs"),
        (["--stages", "64"], "--stages"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    folder: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    """With their names."""
    with pytest.raises(TrainingError, match=said):
        options.parse(arguments(folder, tmp_path, *given))


def test_an_architecture_that_is_none_is_named(folder: Path, tmp_path: Path) -> None:
    """With some that are."""
    with pytest.raises(TrainingError, match=r"--architecture yolo0\.yaml"):
        prepare(folder, tmp_path, "--architecture", "yolo0.yaml")
