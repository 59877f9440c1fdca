"""The OpenVINO engine: what it loads, how it answers, what it keeps, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from detector_service import engines
from detector_service.detection.detector import Detector
from detector_service.detection.model_files import ModelFile, embedded_model
from detector_service.engines import EngineOptions, Precision, openvino
from detector_service.engines.base import InputShape
from detector_service.engines.openvino import OpenVINOEngine, OpenVINORequest
from detector_service.errors import ModelError

HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def options(cache: Path | None, precision: Precision = "fp32") -> EngineOptions:
    """Make options for two workers."""
    return EngineOptions(precision, 2, cache)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OpenVINOEngine:
    """The shipped model at 32 bits."""
    return OpenVINOEngine(embedded_model(), options(tmp_path_factory.mktemp("cache")))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make one prepared image."""
    return np.random.default_rng(seed).integers(0, 255, (1, height, width, 3), np.uint8)


def run(request: OpenVINORequest, images: np.ndarray) -> np.ndarray:
    """Run one image through a request."""
    buffer = request.buffer(*images.shape[1:3])
    buffer[:] = images
    request.start(buffer, 0.0)
    return request.wait().copy()


def infer(engine: OpenVINOEngine, images: np.ndarray) -> np.ndarray:
    """Run one image through a request of its own."""
    return run(engine.request(), images)


def test_it_says_what_it_is(engine: OpenVINOEngine) -> None:
    """Name, device, precision, free input sizes and the exporter's metadata."""
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert engine.input_shape == InputShape(None, None)
    assert engine.metadata["names"] == "{0: 'person', 1: 'face'}"


def test_a_size_of_its_own_answers_as_any_size_does(engine: OpenVINOEngine) -> None:
    """A model compiled for one size gives what the model for any size gives."""
    images = noise(256, 416)
    before = infer(engine, images)
    engine.prepare(256, 416)
    after = infer(engine, images)
    assert before.shape == (1, 6, 2184)
    np.testing.assert_allclose(after, before, atol=2e-2)


def test_a_size_that_keeps_coming_gets_a_model_of_its_own(tmp_path: Path) -> None:
    """After a few sightings, in the background; a request changes over without losing what is prepared."""
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    request = engine.request()
    images, answers = noise(64, 96), []
    for _ in range(6):
        answers.append(run(request, images))
        engine._compiler.submit(int).result()  # what was to be compiled before this is
    own = engine.model_for((64, 96))
    assert not own.input().partial_shape.is_dynamic
    assert request._own[64, 96][0] is own
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], atol=2e-2)
    engine.close()


def test_ever_changing_sizes_cost_few_compilations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes round many sizes gets models for a few, which are then kept, and no backlog."""
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    compiled = []
    compile_one = engine._compile

    def counting(size: tuple[int, int], cached: dict[str, object]) -> object:
        compiled.append(size)
        return compile_one(size, cached)

    monkeypatch.setattr(engine, "_compile", counting)
    request = engine.request()
    sizes = [(32, 32 * step) for step in range(1, 13)]
    for _ in range(30):
        for size in sizes:
            run(request, noise(*size))
        engine._compiler.submit(int).result()  # what was to be compiled before this is
    assert len(compiled) == len(engine._own) == len(request._own) == 6
    engine.close()
    engine.close()


def test_a_size_that_is_no_longer_used_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras change; the size that was not seen for longest goes, also from who held a request of it."""
    monkeypatch.setattr(openvino, "_UNUSED_AFTER", 20)
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    request = engine.request()
    for step in range(1, 7):
        engine.prepare(32, 32 * step)
        run(request, noise(32, 32 * step))
    for _ in range(40):
        run(request, noise(64, 64))
        engine._compiler.submit(int).result()
    assert (
        set(engine._own)
        == set(request._own)
        == {(64, 64), *((32, 32 * step) for step in range(2, 7))}
    )
    engine.close()


def test_a_size_that_cannot_be_compiled_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on being served by the model for any size, and the log says why once."""
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    tried = []

    def failing(size: tuple[int, int], _cached: dict[str, object]) -> None:
        tried.append(size)
        raise RuntimeError("no")

    monkeypatch.setattr(engine, "_compile", failing)
    request = engine.request()
    for _ in range(20):
        run(request, noise(64, 64))
        engine._compiler.submit(int).result()
    assert tried == [(64, 64)]
    engine.close()


def test_what_clients_make_it_compile_is_not_put_on_the_disk(tmp_path: Path) -> None:
    """Or they could fill it."""
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    request = engine.request()
    before = sorted(tmp_path.iterdir())
    for _ in range(6):
        run(request, noise(64, 64))
        engine._compiler.submit(int).result()
    assert (64, 64) in engine._own
    assert sorted(tmp_path.iterdir()) == before
    engine.close()


def test_requests_run_side_by_side(engine: OpenVINOEngine) -> None:
    """Two requests of one size hold different buffers and give different answers."""
    first, second = engine.request(), engine.request()
    one, two = first.buffer(64, 96), second.buffer(64, 96)
    one[:], two[:] = noise(64, 96, 1), noise(64, 96, 2)
    first.start(one, 0.0)
    second.start(two, 0.0)
    a, b = first.wait().copy(), second.wait().copy()
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, infer(engine, noise(64, 96, 1)))


def test_what_was_started_and_not_waited_for_is_in_nobody_s_way(engine: OpenVINOEngine) -> None:
    """As when another model's request failed: the next image gets its own answer."""
    request = engine.request()
    request.start(request.buffer(64, 96), 0.0)
    np.testing.assert_array_equal(run(request, noise(64, 96)), infer(engine, noise(64, 96)))


@pytest.mark.parametrize("as_folder", [True, False])
def test_an_openvino_folder_gives_what_its_onnx_gives(
    engine: OpenVINOEngine, tmp_path: Path, as_folder: bool
) -> None:
    """An IR, named by its folder or its .xml, with the metadata that lies beside it."""
    folder = tmp_path / "m_openvino_model"
    folder.mkdir()
    ov.save_model(ov.Core().read_model(embedded_model()), folder / "m.xml", compress_to_fp16=False)
    (folder / "metadata.yaml").write_text(
        "names:\n  0: person\n  1: face\nstride: 32\nimgsz: [416, 416]\ntask: detect\nend2end: false\n"
    )
    loaded = OpenVINOEngine(folder if as_folder else folder / "m.xml", options(tmp_path / "cache"))
    assert loaded.metadata["names"] == "{0: 'person', 1: 'face'}"
    images = noise(128, 128)
    np.testing.assert_allclose(infer(loaded, images), infer(engine, images), atol=1e-3)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A file that is no model, and half of one that is."""
    whole = embedded_model().read_bytes()
    for content in (b"", b"not a model", whole[: len(whole) // 2]):
        path = tmp_path / "broken.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"broken\.onnx"):
            OpenVINOEngine(path, options(tmp_path))


def test_a_folder_without_one_graph_is_refused(tmp_path: Path) -> None:
    """It is not guessed which of several is meant."""
    with pytest.raises(ModelError, match="holds 0"):
        OpenVINOEngine(tmp_path, options(tmp_path))


def test_a_model_that_takes_no_images_is_refused(tmp_path: Path) -> None:
    """One input of the shape (batch, 3, height, width), or none of this service's business."""
    from openvino import opset13 as ops

    vector = ops.parameter([1, 8], np.float32)
    ov.save_model(ov.Model([ops.relu(vector)], [vector]), tmp_path / "v.xml")
    with pytest.raises(ModelError, match="not an image model"):
        OpenVINOEngine(tmp_path / "v.xml", options(tmp_path))
    constant = ops.constant(np.zeros((1, 3, 8, 8), np.float32))
    ov.save_model(ov.Model([ops.relu(constant)], []), tmp_path / "c.xml")
    with pytest.raises(ModelError, match="not an image model"):
        OpenVINOEngine(tmp_path / "c.xml", options(tmp_path))


def test_a_model_that_cannot_take_other_sizes_says_so_in_a_sentence(tmp_path: Path) -> None:
    """Free sides on paper, and a fixed shape within: the file and the cure are named, in one line."""
    from openvino import opset13 as ops

    image = ops.parameter([-1, 3, -1, -1], np.float32)
    fixed = ops.reshape(image, ops.constant([1, 3 * 50 * 50]), special_zero=False)
    ov.save_model(ov.Model([ops.relu(fixed)], [image]), tmp_path / "f.xml")
    (tmp_path / "metadata.yaml").write_text("names: {0: person, 1: face}\nimgsz: 64\n")
    with pytest.raises(ModelError, match=r"f\.xml: .*yolo export") as error:
        file = ModelFile(
            tmp_path / "f.xml", "FACE_MODEL_PATH", frozenset({"face", "body"}), embedded=False
        )
        Detector.load([file], engine="openvino", precision="fp32", parallel=1, max_input=1024)
    assert "\n" not in str(error.value)


def test_it_computes_on_so_many_threads() -> None:
    """One inference on each: never more inferences than threads, however many workers there are."""
    engine = OpenVINOEngine(embedded_model(), EngineOptions("fp32", 6, None, threads=1))
    assert engine.any_size.get_property("INFERENCE_NUM_THREADS") == 1
    assert engine.any_size.get_property("NUM_STREAMS") == 1


def test_precision_follows_the_processor(tmp_path: Path) -> None:
    """The choice of auto takes bf16 where there is any; demanding it where there is none is an error."""
    assert OpenVINOEngine(embedded_model(), options(tmp_path, "auto")).precision == (
        "bf16" if HAS_BF16 else "fp32"
    )
    if HAS_BF16:
        assert OpenVINOEngine(embedded_model(), options(tmp_path, "bf16")).precision == "bf16"
    else:
        with pytest.raises(ModelError, match="PRECISION=bf16"):
            OpenVINOEngine(embedded_model(), options(tmp_path, "bf16"))


def test_it_serves_without_a_cache() -> None:
    """Where nothing can be written, each start compiles anew."""
    assert infer(OpenVINOEngine(embedded_model(), options(None)), noise(64, 64)).shape == (1, 6, 84)


def test_a_damaged_cache_is_no_trouble(tmp_path: Path) -> None:
    """Compiled models on disk that are cut short are made anew."""
    before = infer(OpenVINOEngine(embedded_model(), options(tmp_path)), noise(64, 64))
    blobs = list(tmp_path.glob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.write_bytes(blob.read_bytes()[:1000])
    after = infer(OpenVINOEngine(embedded_model(), options(tmp_path)), noise(64, 64))
    np.testing.assert_array_equal(after, before)


def test_loading_forks_no_process_and_reports_to_nobody() -> None:
    """OpenVINO's own report to its maker is switched off; a fork would break gRPC's threads."""
    program = (
        "import sys; forks = []\n"
        "sys.addaudithook(lambda event, args: forks.append(event) if event in "
        "('os.fork', 'os.forkpty', 'subprocess.Popen', 'os.posix_spawn', 'os.system') else None)\n"
        "from pathlib import Path\n"
        "from detector_service import engines\n"
        "from detector_service.detection.model_files import embedded_model\n"
        "engine = engines.load('openvino', embedded_model(), engines.EngineOptions('auto', 1, Path(sys.argv[1])))\n"
        "engine.close()\n"
        "assert 'openvino_telemetry.main' not in sys.modules\n"
        "print(forks)"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", program, cache], capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == "[]"


def test_the_registry_loads_by_name(tmp_path: Path) -> None:
    """An engine is imported when it is chosen, and says which files it loads."""
    assert ".onnx" in engines.suffixes("openvino")
    shutil.copy(embedded_model(), tmp_path / "m.onnx")
    assert engines.load("openvino", tmp_path / "m.onnx", options(tmp_path)).name == "openvino"
