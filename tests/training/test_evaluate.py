"""A model is as good by one engine as by another."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from detector_service.engines import openvino
from tests.training import photographs, shards
from training import evaluate, finders, networks, service_engines
from training.accuracy import Found

MODELS = Path(__file__).resolve().parents[2] / "models"

# Exporting weights for OpenVINO goes into the test that needs it.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Copies of the files that ship, so that nothing is built into the working tree."""
    folder = tmp_path_factory.mktemp("models")
    names = ("crowd-n.pt", "crowd-n.onnx")
    return [Path(shutil.copy(MODELS / name, folder)) for name in names]


@pytest.fixture(scope="module")
def labelled(models: list[Path]) -> photographs.Labelled:
    """Photographs, with what Ultralytics finds in them as labels."""
    return photographs.labelled_by(finders.ultralytics(networks.model(models[0]), 416))


def test_engines_agree(models: list[Path], labelled: photographs.Labelled) -> None:
    """At 32 bits all find what Ultralytics does, and at 16 nearly."""
    measured = list(evaluate.evaluate(models, labelled, [416]))
    exact = [(each.model, each.engine) for each in measured if each.engine.endswith("fp32")]
    assert exact == [
        ("crowd-n.pt", "ultralytics fp32"),
        ("crowd-n.pt", "torch fp32"),
        ("crowd-n.pt", "openvino fp32"),
        ("crowd-n.onnx", "openvino fp32"),
    ]
    coarse = [each.engine for each in measured if each.engine == "openvino bf16"]
    assert len(coarse) == (2 if openvino.choose_precision("auto") == "bf16" else 0)
    for each in measured:
        least = 0.999 if each.engine.endswith("fp32") else 0.9
        for figures in each.classes.values():
            assert figures.pictures == len(labelled)
            every = figures.sizes["all"]
            assert every.ap50 is not None
            assert every.ap50_95 is not None
            assert every.ap50 >= least
            assert every.ap50_95 >= least - 0.1


def test_an_engine_is_asked_for_as_it_is_told(
    models: list[Path], labelled: photographs.Labelled
) -> None:
    """By its name, or its precision: whatever stands in the table."""
    told = [each.engine for each in evaluate.evaluate(models[1:], labelled[:1], [320])]
    assert "openvino fp32" in told
    for name in told:
        assert [
            each.engine for each in evaluate.evaluate(models[1:], labelled[:1], [320], name)
        ] == [name]


def test_the_size_of_the_input_is_the_one_asked_for(
    models: list[Path], labelled: photographs.Labelled
) -> None:
    """Whatever the model's own is: the same boxes as `predict`'s at that size."""
    here, ways = service_engines.ways(models[1])
    network = networks.model(models[0])

    def best(found: Found) -> list[float]:
        return [float(value) for value in found[1][0]]

    pixels = labelled[0].pixels
    answers = {}
    for size in (320, 640):
        with service_engines.loaded(models[1], ways[0], here, size) as (name, finder):
            assert name == "openvino fp32"
            answers[size] = best(finder(pixels))
            theirs = best(finders.ultralytics(network, size)(pixels))
        assert answers[size] == pytest.approx(theirs, abs=1)
    assert answers[320] != pytest.approx(answers[640], abs=0.01)


def test_the_command_prints_a_table_and_writes_all_figures(
    models: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line for each class; pictures are only counted where they are labelled for it."""
    labels = tmp_path / "figures.json"
    members: dict[str, bytes | str] = {}
    for number, group in enumerate(("person", "person", "face", "both")):
        pixels = photographs.photographs()["astronaut"]
        members[f"{group}/val/images/{number}.png"] = bytes(cv2.imencode(".png", pixels)[1])
        members[f"{group}/val/labels/{number}.txt"] = (
            shards.PERSON
            if group == "person"
            else "1 0.44 0.21 0.19 0.29"
            if group == "face"
            else ""
        )
    folder = shards.pack(tmp_path / "a.tar", members)
    given = [
        str(models[1]),
        "--data",
        str(folder),
        "--engine",
        "openvino fp32",
        "--json",
        str(labels),
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate", *given])
    assert evaluate.main() == 0
    heading, person, face = capsys.readouterr().out.splitlines()
    assert "AP50-95" in heading
    assert person.split()[:6] == ["crowd-n.onnx", "openvino", "fp32", "416", "person", "3"]
    assert face.split()[4:7] == ["face", "2", "1"]
    (written,) = json.loads(labels.read_text())
    assert written["classes"]["face"]["sizes"]["all"]["recall"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["no-such.onnx"], "no-such.onnx: there is no such file"),
        (["--size", "400"], "--size 400: give a multiple of 32"),
        (["--data", "/nowhere"], "there are no shards"),
        (
            ["--engine", "onyx"],
            "--engine onyx: no engine here is named so; these are: openvino fp32",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(
    tmp_path: Path,
    given: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the cure, and exit code 1."""
    folder = shards.small_set(tmp_path, pictures=1)
    named = [] if given[0].endswith(".onnx") else [str(MODELS / "crowd-n.onnx")]
    monkeypatch.setattr(sys, "argv", ["evaluate", *named, "--data", str(folder), *given])
    assert evaluate.main() == 1
    assert said in capsys.readouterr().err
