"""What is exported is what ships: the same weights, any size, Ultralytics' metadata."""

import ast
import sys
from pathlib import Path

import onnx
import pytest

from tests.training import photographs
from training import export, finders, networks

SHIPPED = Path(__file__).resolve().parents[2] / "models"


# Ultralytics exports with functions that PyTorch is about to replace, and its heads branch on shapes.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*legacy TorchScript-based ONNX export:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_shipped_weights_give_the_shipped_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its description, but for the date, its inputs, and all of its numbers."""
    weights = tmp_path / "crowd-n.pt"
    networks.write(networks.read(SHIPPED / "crowd-n.pt"), weights, 416)
    monkeypatch.setattr(sys, "argv", ["export", str(weights)])
    assert export.main() == 0
    made = weights.with_suffix(".onnx")
    assert str(made) in capsys.readouterr().out
    models = [onnx.load(path) for path in (made, SHIPPED / "crowd-n.onnx")]
    described = [{entry.key: entry.value for entry in model.metadata_props} for model in models]
    args = [ast.literal_eval(metadata.pop("args")) for metadata in described]
    for metadata in described:
        metadata.pop("date")
        metadata.pop("version")
    assert described[0] == described[1]
    assert {name: args[0][name] for name in ("dynamic", "simplify", "opset")} == {
        "dynamic": True,
        "simplify": True,
        "opset": 17,
    }
    ours, theirs = (
        sorted(tensor.raw_data for tensor in model.graph.initializer if len(tensor.dims) == 4)
        for model in models
    )
    assert len(ours) > 80
    assert ours == theirs


def test_written_weights_find_what_they_found_before(tmp_path: Path) -> None:
    """Reading and writing them changes nothing."""
    network = networks.read(SHIPPED / "crowd-n.pt")
    networks.write(network, tmp_path / "again.pt", 416)
    again = networks.read(tmp_path / "again.pt")
    pixels = photographs.photographs()["astronaut"]
    found = [
        finders.ultralytics(networks.wrapped(each), 320)(pixels)[0] for each in (network, again)
    ]
    assert len(found[0]) > 0
    assert (found[0] == found[1]).all()


def test_a_file_that_is_no_weights_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1."""
    (tmp_path / "a.pt").write_bytes(b"no weights")
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "a.pt")])
    assert export.main() == 1
    assert "a.pt: these are no PyTorch weights" in capsys.readouterr().err
