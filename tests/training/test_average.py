"""Half of one and half of the other, or as much as is asked for."""

import sys
from pathlib import Path

import pytest
import torch

from training import average, networks

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "crowd-n.pt"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command."""
    monkeypatch.setattr(sys, "argv", ["average", *map(str, arguments)])
    return average.main()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_every_number_lies_between_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, expected: float
) -> None:
    """Weights and running averages of inputs; what is counted is left alone. The first file's size is kept."""
    for name, value, size in (("first.pt", 1.0, 416), ("second.pt", 3.0, 640)):
        network = networks.read(SHIPPED)
        for numbers in network.state_dict().values():
            numbers.fill_(value)
        networks.write(network, tmp_path / name, size)
    files = [tmp_path / name for name in ("first.pt", "second.pt", "out.pt")]
    assert run(monkeypatch, *files, "--share", share) == 0
    made = networks.read(files[2])
    for name, numbers in made.state_dict().items():
        wanted = expected if numbers.is_floating_point() else 1
        assert torch.all(numbers == wanted), name
    assert networks.own_size(made) == 416


def test_what_cannot_be_averaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shares that are none, and networks that differ."""
    assert run(monkeypatch, SHIPPED, SHIPPED, tmp_path / "out.pt", "--share", 1.5) == 1
    assert "give a share in [0, 1]" in capsys.readouterr().err
    other = tmp_path / "other.pt"
    networks.write(networks.create("yolov8n.yaml"), other, 416)
    assert run(monkeypatch, SHIPPED, other, tmp_path / "out.pt") == 1
    assert "different architectures" in capsys.readouterr().err
    assert not (tmp_path / "out.pt").exists()
