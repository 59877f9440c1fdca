"""`detector models` on files: what each command says, and with which exit code."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from crowd_detector.cli.failures import Failure

from detector_service.detection.model_files import content_hash, embedded_model
from detector_service.engines import engine_file, selection
from detector_service.errors import ModelError
from detector_service.model_commands import (
    inspection,
    listing,
    surroundings,
    timing,
    verification,
)
from detector_service.model_commands.surroundings import Way
from tests.model_commands.conftest import Detector
from tests.servers import ROOT

WEIGHTS = ROOT / "models" / "crowd-n.pt"

pytestmark = pytest.mark.timeout(300)  # PyTorch, in processes of their own


def records(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the shipped weights, with nothing built of it."""
    copy = tmp_path / "best.pt"
    copy.write_bytes(WEIGHTS.read_bytes())
    return copy


def test_the_commands_are_found_and_serving_is_meant_without_one(detector: Detector) -> None:
    """Those of the service beside those of the client."""
    done = detector("--help")
    for command in ("list", "info", "verify", "export", "bench", "fetch", "serving"):
        assert f"  {command} " in done.stdout
        assert detector(command, "--help").returncode == 0
    assert detector("--server", "127.0.0.1:1").returncode == 3  # it asked the service
    unknown = detector("lst")
    assert unknown.returncode == 2
    assert "No such command 'lst'" in unknown.stderr


def test_what_there_is(detector: Detector, weights: Path) -> None:
    """The models that would serve, the one that ships, and names; a setting that is wrong is 2."""
    listed = records(detector("list", BODY_MODEL_PATH="best.pt").stdout)
    face, body, embedded = listed[:3]
    assert (face["name"], face["set"], face["exists"]) == ("FACE_MODEL_PATH", False, False)
    assert (body["name"], body["set"], body["exists"]) == ("BODY_MODEL_PATH", True, True)
    assert body["bytes"] == weights.stat().st_size
    assert (embedded["kind"], embedded["exists"]) == ("embedded", True)
    # Of the model that ships something may have been built, in this checkout.
    assert {each["kind"] for each in listed[3:]} - {"build"} == {"fetchable"}
    wrong = detector("list", ENGINE="steam")
    assert wrong.returncode == 2
    assert "ENGINE=steam" in wrong.stderr


def test_weights_are_read_compared_and_exported(
    detector: Detector, weights: Path, tmp_path: Path
) -> None:
    """Their metadata, with PyTorch or from what was exported; every engine here finds the same in them."""
    (before,) = records(detector("info", weights).stdout)
    assert before["classes"] == ["person", "face"]
    assert before["finds"] == ["body", "face"]
    assert (before["format"], before["engine"]) == ("pt", "openvino")
    assert before["sha256"] == content_hash(weights)

    verified = records(detector("verify", weights).stdout)
    assert [each["engine"] for each in verified][:2] == ["torch", "openvino"]
    assert verified[0]["agrees"] is None
    assert all(each["agrees"] for each in verified[1:])
    assert verified[1]["matched"] == verified[0]["boxes"] > 0

    (after,) = records(detector("info", weights).stdout)
    assert after == before
    build = next(
        each
        for each in records(detector("list", FACE_MODEL_PATH="best.pt").stdout)
        if each["kind"] == "build"
    )
    assert build["name"].startswith("openvino-any-ultralytics-")
    assert build["bytes"] > 1_000_000

    done = detector("export", weights, "--format", "openvino", "--to", tmp_path / "out")
    (exported,) = records(done.stdout)
    folder = Path(exported["path"])
    assert {file.name for file in folder.iterdir()} == {
        "weights.xml",
        "weights.bin",
        "metadata.yaml",
    }
    (carried,) = records(detector("info", folder).stdout)
    assert (carried["format"], carried["classes"]) == ("openvino", before["classes"])
    again = detector("export", weights, "--format", "openvino", "--to", tmp_path / "out")
    assert again.returncode == 2
    assert "lies there already" in again.stderr


def test_the_model_that_ships_is_verified_and_timed_without_a_path(detector: Detector) -> None:
    """It would serve. What is timed is every number of images that was asked for."""
    verified = records(detector("verify").stdout)
    assert {each["path"] for each in verified} == {str(embedded_model())}
    timed = records(
        detector("bench", "--seconds", "0.1", "--batch", "1,2", PRECISION="fp32").stdout
    )
    assert {each["at_once"] for each in timed} == {1, 2}
    assert all(0 < each["median_ms"] <= each["p95_ms"] for each in timed)
    assert all(each["images_per_second"] > 0 for each in timed)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("info", "nothing.pt"), 7, "there is no such file"),
        (("info", "note.txt"), 7, "not a kind of file that can be loaded"),
        (("info", "broken.pt"), 7, "no PyTorch weights, or they are truncated"),
        (("info", "broken.onnx"), 7, "OpenVINO cannot read it"),
        (("info", "broken.engine"), 7, "no TensorRT engine"),
        (("verify", "broken.onnx"), 7, "OpenVINO cannot read it"),
        (("verify", "foreign.engine"), 7, "nothing here runs .engine files"),
        (("bench", "foreign.engine"), 7, "nothing here runs .engine files"),
        (("export", "both.onnx", "--format", "engine"), 7, "service,torch,tensorrt"),
        (("verify", "--image", "note.txt"), 2, "note.txt: "),
        (("verify", "--image", "nothing.jpg"), 2, "No such file"),
        (("export", "broken.onnx", "--format", "openvino"), 7, "only weights (.pt) are exported"),
        (("export", "broken.pt", "--format", "coreml"), 2, "coreml"),
        (("bench", "--batch", "0"), 2, "--batch 0: numbers from 1 to 256"),
        (("bench", "--batch", "many"), 2, "--batch many"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    detector: Detector, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """And its exit code."""
    for name in ("note.txt", "broken.pt", "broken.onnx", "broken.engine"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "foreign.engine").write_bytes(engine_file.join({"names": {0: "person"}}, b""))
    (tmp_path / "both.onnx").write_bytes(embedded_model().read_bytes())
    done = detector(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_weights_without_pytorch_are_told_what_to_install(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command."""
    monkeypatch.setattr(selection, "find_spec", lambda _: None)
    with pytest.raises(
        ModelError, match=r"best\.pt: .*pip install 'crowd-detector\[service,torch\]'"
    ):
        surroundings.metadata(surroundings.given(weights), surroundings.look())


def test_engines_that_differ_are_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that differs is named."""
    find = verification._find

    def shifted(*arguments: Any) -> Any:
        found, precision = find(*arguments)
        way = arguments[2]
        return (found + 30, precision) if way.precision == "auto" else (found, precision)

    monkeypatch.setattr(verification, "_find", shifted)
    monkeypatch.setattr(
        surroundings, "ways", lambda *_: [Way("openvino", "fp32"), Way("openvino", "auto")]
    )
    with pytest.raises(Failure, match="does not find what openvino at fp32 finds") as failed:
        verification.run(embedded_model(), None, surroundings.look(), as_json=True)
    assert failed.value.code == 1
    assert records(capsys.readouterr().out)[1]["agrees"] is False


def test_one_engine_alone_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is said; it is no failure."""
    monkeypatch.setattr(surroundings, "ways", lambda *_: [Way("openvino", "fp32")])
    verification.run(embedded_model(), None, surroundings.look(), as_json=True)
    said = capsys.readouterr()
    assert records(said.out)[0]["agrees"] is None
    assert "nothing to compare with" in said.err


def test_people_get_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in the JSON, in words."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FACE_MODEL_PATH", str(embedded_model()))
    here = surroundings.look()
    listing.run(here, as_json=False)
    listed = capsys.readouterr().out
    assert "not there; the embedded one serves" in listed
    assert "`detector models fetch NAME` fetches: yolov8n" in listed
    inspection.run(embedded_model(), here, as_json=False)
    described = capsys.readouterr().out
    assert "people and faces" in described.replace("faces and people", "people and faces")
    assert "openvino at" in described
    verification.run(embedded_model(), None, here, as_json=False)
    assert "the reference" in capsys.readouterr().out
    timing.run(embedded_model(), [1], 0.1, here, as_json=False)
    assert "images/s" in capsys.readouterr().out


def test_without_the_service_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line alone brings the commands' names."""
    from detector_service.model_commands import commands

    for name in [
        name for name in sys.modules if name.startswith("detector_service.model_commands.")
    ]:
        if not name.endswith((".commands", ".formats")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("detector_service.model_commands.surroundings")
    monkeypatch.setitem(sys.modules, "structlog", None)
    with pytest.raises(Failure, match=r"pip install 'crowd-detector\[cli,service\]'"):
        commands.list_models()
