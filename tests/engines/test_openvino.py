"""The OpenVINO engine: what it loads, how it answers, what it keeps, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from detector_service import engines
from detector_service.detection.model_files import embedded_model
from detector_service.engines import EngineOptions, Precision
from detector_service.engines.base import InputShape
from detector_service.engines.openvino import OpenVINOEngine
from detector_service.errors import ModelError

HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def options(cache: Path, precision: Precision = "fp32") -> EngineOptions:
    """Make options for two workers."""
    return EngineOptions(precision, 2, cache)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OpenVINOEngine:
    """The shipped model at 32 bits."""
    return OpenVINOEngine(embedded_model(), options(tmp_path_factory.mktemp("cache")))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make one prepared image."""
    return np.random.default_rng(seed).integers(0, 255, (1, height, width, 3), np.uint8)


def infer(engine: OpenVINOEngine, images: np.ndarray) -> np.ndarray:
    """Run one image through a request of its own."""
    request = engine.request()
    buffer = request.buffer(*images.shape[1:3])
    buffer[:] = images
    return request.infer(buffer).copy()


def test_it_says_what_it_is(engine: OpenVINOEngine) -> None:
    """Name, device, precision, format, free input sizes and the exporter's metadata."""
    assert (engine.name, engine.device, engine.precision, engine.file_format) == (
        "openvino",
        "cpu",
        "fp32",
        "onnx",
    )
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
        buffer = request.buffer(64, 96)
        buffer[:] = images
        answers.append(request.infer(buffer).copy())
        engine._compiler.submit(int).result()  # what was to be compiled before this is
    own = engine.model_for((64, 96))
    assert not own.input().partial_shape.is_dynamic
    assert request._slots[64, 96][0] is own
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], atol=2e-2)
    engine.close()


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    """However many sizes come, few have models of their own."""
    engine = OpenVINOEngine(embedded_model(), options(tmp_path))
    for step in range(1, 13):
        engine.prepare(32, 32 * step)
    assert len(engine._by_size) == 8
    assert (32, 32 * 12) in engine._by_size
    assert (32, 32) not in engine._by_size
    engine.close()
    engine.close()


def test_requests_run_side_by_side(engine: OpenVINOEngine) -> None:
    """Two requests of one size hold different buffers and give different answers."""
    first, second = engine.request(), engine.request()
    one, two = first.buffer(64, 64), second.buffer(64, 64)
    one[:], two[:] = noise(64, 64, 1), noise(64, 64, 2)
    a, b = first.infer(one).copy(), second.infer(two).copy()
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, first.infer(one))


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
    assert loaded.file_format == "openvino"
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
