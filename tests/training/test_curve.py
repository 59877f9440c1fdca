"""A run's figures are kept, cut where a run goes on, and drawn."""

import sys
from pathlib import Path
from typing import Any

import pytest

from training import curve
from training.curve import Curve
from training.errors import TrainingError


def point(batches: int) -> dict[str, Any]:
    """Return the figures of an evaluation."""
    figures = {"ap50": 0.5, "ap50_95": 0.25}
    return {
        "seconds": batches * 60.0,
        "batches": batches,
        "loss": {"box": 1.0, "class": 2.0, "distribution": 1.5},
        "person": figures,
        "face": figures,
    }


def test_what_came_after_the_checkpoint_is_cut(tmp_path: Path) -> None:
    """So that no evaluation is there twice; a last line that was cut off goes with it."""
    path = tmp_path / "curve.jsonl"
    kept = Curve(path)
    assert kept.points() == []
    for batches in (1, 2, 3):
        kept.add(point(batches))
    with path.open("a") as file:
        file.write('{"seconds": 4')
    kept.cut(2)
    assert kept.points() == [point(1), point(2)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """With its number."""
    (tmp_path / "curve.jsonl").write_text("{}\nno JSON\n{}\n")
    with pytest.raises(TrainingError, match="line 2"):
        Curve(tmp_path / "curve.jsonl").points()


def test_a_curve_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same figures give the same file; where there are none that is said."""
    monkeypatch.setattr(sys, "argv", ["curve", str(tmp_path)])
    assert curve.main() == 1
    assert "there is no curve.jsonl" in capsys.readouterr().err
    kept = Curve(tmp_path / "curve.jsonl")
    for batches in (1, 2):
        kept.add(point(batches))
    assert curve.main() == 0
    drawn = (tmp_path / "curve.svg").read_bytes()
    assert b"average precision" in drawn
    assert curve.main() == 0
    assert (tmp_path / "curve.svg").read_bytes() == drawn
