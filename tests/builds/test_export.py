"""Weights are exported by a process of its own: once, from the bytes that were hashed, without running them."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import onnx
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from detector_service.builds import child, export
from detector_service.builds.cache import BuildStopped
from detector_service.builds.export import exported
from detector_service.detection.model_files import content_hash
from detector_service.errors import ModelError
from tests.builds.planted import Planted, archive
from tests.servers import ROOT, Process, connected, service_process, until

WEIGHTS = ROOT / "models" / "crowd-n.pt"

#: Says what a process needs to detect with weights, and whether it imported PyTorch for that.
LOADS = """
import sys
from pathlib import Path
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile
file = ModelFile(Path(sys.argv[1]), "FACE_MODEL_PATH", frozenset({"face", "body"}), embedded=False)
Detector.load([file], engine="openvino", precision="fp32", parallel=1, max_input=1024).close()
print("torch" in sys.modules, "ultralytics" in sys.modules)
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the shipped weights, with nothing built of it."""
    copy = tmp_path / "models" / "best.pt"
    copy.parent.mkdir()
    copy.write_bytes(WEIGHTS.read_bytes())
    return copy


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported; not to be changed."""
    copy = tmp_path_factory.mktemp("models") / "best.pt"
    copy.write_bytes(WEIGHTS.read_bytes())
    openvino(copy)
    return copy


def openvino(weights: Path, *, allow_unsafe: bool = False) -> Path:
    """Export weights for OpenVINO."""
    return exported(
        weights,
        content_hash(weights),
        "openvino",
        allow_unsafe=allow_unsafe,
        stop=threading.Event(),
    )


def builds(weights: Path) -> list[str]:
    """Return the names of what lies in the cache beside the weights, but for what OpenVINO compiled."""
    entries = [
        entry for model in (weights.parent / ".cache").iterdir() for entry in model.iterdir()
    ]
    compiled = (".blob", "compiled.json")
    return sorted(entry.name for entry in entries if not entry.name.endswith(compiled))


def test_what_was_exported_is_there_to_stay(built: Path) -> None:
    """A graph with its weights and metadata, named by what made it; found again without PyTorch."""
    folder = openvino(built)
    assert {file.name for file in folder.iterdir()} == {
        "weights.xml",
        "weights.bin",
        "metadata.yaml",
        "build.json",
    }
    assert folder.name.startswith("openvino-any-ultralytics-")
    assert builds(built) == ["lock", folder.name]
    done = subprocess.run(
        [sys.executable, "-c", LOADS, str(built)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False False"


def test_weights_are_exported_as_onnx_where_an_engine_wants_that(built: Path) -> None:
    """One file, its metadata inside, beside the build for OpenVINO."""
    folder = exported(
        built, content_hash(built), "onnx", allow_unsafe=False, stop=threading.Event()
    )
    assert {file.name for file in folder.iterdir()} == {"weights.onnx", "build.json"}
    described = {entry.key for entry in onnx.load(folder / "weights.onnx").metadata_props}
    assert {"names", "stride", "imgsz", "task", "end2end"} <= described
    assert folder.parent == openvino(built).parent


def test_a_build_serves_where_pytorch_is_missing(
    built: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And weights without one are an error that says what to install."""
    folder = openvino(built)
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    assert openvino(built) == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(weights.parent / "nothing"))
    with pytest.raises(
        ModelError, match=r"best\.pt: .*pip install 'crowd-detector\[service,torch\]'"
    ):
        openvino(weights)


async def started(service: Process) -> pb.GetModelInfoResponse:
    """Wait until it serves; return what it says of its models."""
    await service.serves()
    async with connected(service.address) as stub:
        return await stub.GetModelInfo(pb.GetModelInfoRequest())


async def test_two_services_that_start_at_once_export_once(weights: Path) -> None:
    """One builds, the other waits for it; both serve, and say what they serve."""
    async with (
        service_process(FACE_MODEL_PATH=str(weights), BODY_MODEL_PATH=str(weights)) as one,
        service_process(FACE_MODEL_PATH=str(weights), BODY_MODEL_PATH=str(weights)) as two,
    ):
        first, second = await asyncio.gather(started(one), started(two))
    assert (one.errors + two.errors).count('"model.exporting"') == 1
    assert first.face_model.content_sha256 == second.face_model.content_sha256
    assert first.face_model.content_sha256 == content_hash(weights)
    assert (first.face_model.format, first.face_model.engine) == ("pt", "openvino")
    assert first.face_model.path == str(weights)
    assert list(first.face_model.classes) == ["person", "face"]
    assert first.face_model.input_size == 416
    assert len(builds(weights)) == 2


async def test_a_service_that_is_stopped_while_it_exports_leaves_nothing(weights: Path) -> None:
    """It ends at once, with its exporter; the next start exports anew."""
    async with service_process(FACE_MODEL_PATH=str(weights)) as service:
        assert service.process.stderr is not None
        async with asyncio.timeout(60):
            while b'"model.exporting"' not in (line := await service.process.stderr.readline()):
                assert line
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert builds(weights) == ["lock"]


async def test_an_exporter_ends_with_a_service_that_is_killed(weights: Path) -> None:
    """It is no child that outlives its parent; what it leaves is taken for no build."""
    async with service_process(FACE_MODEL_PATH=str(weights)) as service:
        assert service.process.stderr is not None
        async with asyncio.timeout(60):
            while b'"model.exporting"' not in (line := await service.process.stderr.readline()):
                assert line
            await until(lambda: _children(service.process.pid))
            pids = _children(service.process.pid)
        service.signal(signal.SIGKILL)
        await service.ended()
        await until(lambda: not any(_runs(pid) for pid in pids))
    assert not any(name.startswith("openvino") for name in builds(weights))


def _children(pid: int) -> list[str]:
    """Return the processes that this one's threads have started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return " ".join(each.read_text() for each in lists).split()


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_planted_code_does_not_run(tmp_path: Path) -> None:
    """Weights that hold more than a model are refused; where the user allows it, they run what they hold."""
    leaves = tmp_path / "was-here"
    path = archive(tmp_path / "planted.pt", {"model": Planted(leaves)})
    with pytest.raises(
        ModelError, match=r"planted\.pt: it holds more than a model.*ALLOW_UNSAFE_MODELS=true"
    ):
        openvino(path)
    assert not leaves.exists()
    with pytest.raises(ModelError, match="Ultralytics cannot load it"):
        openvino(path, allow_unsafe=True)
    assert leaves.exists()  # so that its absence above says something


def test_what_is_hashed_is_what_is_exported(weights: Path) -> None:
    """A file that changes after it was hashed is refused."""
    before = content_hash(weights)
    archive(weights, {"model": "another"})
    with pytest.raises(ModelError, match=r"best\.pt: the file changed while it was read"):
        exported(weights, before, "openvino", allow_unsafe=False, stop=threading.Event())


def test_a_checkpoint_without_a_model_is_refused(tmp_path: Path) -> None:
    """A bare state dict, as other tools write it."""
    path = archive(tmp_path / "state.pt", {"weight": 1.0})
    with pytest.raises(
        ModelError, match=r"state\.pt: Ultralytics cannot load it.*its training wrote"
    ):
        openvino(path)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_a_model_for_another_task_is_refused(tmp_path: Path, task: str) -> None:
    """Its task is named, and the one that is needed."""
    from tests.detection.oracle import YOLO

    architecture = {"classify": "yolo11n-cls.yaml", "segment": "yolo11n-seg.yaml"}[task]
    YOLO(architecture, task=task).save(tmp_path / "other.pt")
    with pytest.raises(ModelError, match=rf"other\.pt: .*task '{task}'.*'detect'\) is needed"):
        openvino(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("keep", "words"),
    [(0, "no PyTorch weights, or they are truncated"), (0.5, "truncated"), (0.999, "truncated")],
)
def test_truncated_weights_are_refused_at_once(weights: Path, keep: float, words: str) -> None:
    """Before anything is started."""
    whole = weights.read_bytes()
    weights.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ModelError, match=rf"best\.pt: .*{words}.*copy the file again"):
        openvino(weights)
    assert not (weights.parent / ".cache").exists()


def test_damaged_and_foreign_archives_are_refused_at_once(weights: Path) -> None:
    """A bit that flipped, a TorchScript archive, a zip of something else, a picture."""
    whole = bytearray(weights.read_bytes())
    whole[len(whole) // 2] ^= 1
    weights.write_bytes(whole)
    with pytest.raises(ModelError, match="it is damaged"):
        openvino(weights)
    for names, words in (
        (["a/data.pkl", "a/constants.pkl"], "TorchScript"),
        (["a.txt"], "another"),
    ):
        with zipfile.ZipFile(weights, "w") as file:
            for name in names:
                file.writestr(name, "")
        with pytest.raises(ModelError, match=words):
            openvino(weights)
    weights.write_bytes((ROOT / "models" / "astronaut.jpg").read_bytes())
    with pytest.raises(ModelError, match="no PyTorch weights"):
        openvino(weights)


@settings(deadline=None)
@given(st.data())
def test_whatever_a_file_holds_it_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A small archive with any bytes changed, or any bytes at all."""
    path = archive(tmp_path_factory.mktemp("any") / "w.pt", {"weight": 1.0})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(data.draw(st.sampled_from([bytes(content), data.draw(st.binary())])))
    try:
        export.check_archive(path)
    except ModelError as error:
        assert str(path) in str(error)


def test_an_exporter_that_dies_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for want of memory: with its exit status and its last words."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match=r"best\.pt: the building process ended with 1"):
        openvino(weights)
    assert builds(weights) == ["lock"]


def test_an_export_that_is_not_wanted_any_more_ends(weights: Path) -> None:
    """Its process is killed, and nothing is left."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(BuildStopped):
        exported(weights, content_hash(weights), "openvino", allow_unsafe=False, stop=stop)
    assert builds(weights) == ["lock"]


def test_the_exporter_is_told_no_secrets(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment it gets what it needs to run, and to find the GPU that the service has."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    seen: dict[str, str] = {}

    def popen(
        _arguments: list[str], *, env: dict[str, str], **_: object
    ) -> subprocess.Popen[bytes]:
        seen.update(env)
        return subprocess.Popen(["/bin/false"])

    monkeypatch.setattr(child, "subprocess", _With(popen))
    with pytest.raises(ModelError):
        openvino(weights)
    assert "secret" not in json.dumps(seen)
    assert {"PATH", "CUDA_DEVICE_ORDER"} <= set(seen)


class _With:
    """The module `subprocess`, with another Popen."""

    DEVNULL = subprocess.DEVNULL

    def __init__(self, popen: object) -> None:
        self.Popen = popen
