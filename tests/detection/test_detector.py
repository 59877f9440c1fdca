"""The models together: roles, one file or two, limits, and models that cannot serve."""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import onnx
import pytest

from detector_service import engines
from detector_service.detection.detector import Detector
from detector_service.detection.letterbox import Letterbox
from detector_service.detection.model_files import ModelFile, Role, embedded_model
from detector_service.engines.base import InputShape, Predictions, Prepared
from detector_service.engines.openvino import OpenVINOEngine, OpenVINORequest
from detector_service.errors import ModelError
from detector_service.frames.pixels import Image

BOTH: frozenset[Role] = frozenset({"face", "body"})


def load(*files: ModelFile, max_input: int = 1024) -> Detector:
    """Load models at 32 bits for one worker."""
    return Detector.load(
        files, engine="openvino", precision="fp32", parallel=1, max_input=max_input
    )


def file(path: Path, roles: frozenset[Role] = BOTH) -> ModelFile:
    """Make a model's file."""
    return ModelFile(path, "FACE_MODEL_PATH", roles, embedded=False)


def with_metadata(target: Path, **changes: str) -> Path:
    """Copy the shipped model, its metadata changed."""
    model = onnx.load(embedded_model())
    for entry in model.metadata_props:
        if entry.key in changes:
            entry.value = changes[entry.key]
    onnx.save(model, target)
    return target


def with_fixed_input(target: Path, height: int, width: int) -> Path:
    """Copy the shipped model as one that takes a single size."""
    model = onnx.load(embedded_model())
    for dimension, value in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dimension.Clear()
        dimension.dim_value = value
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def picture(photo: bytes) -> np.ndarray:
    """The photograph's pixels."""
    image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def test_one_file_finds_both_with_one_inference(picture: np.ndarray) -> None:
    """Faces and bodies lie in the frame, confident ones first, all above the threshold."""
    detector = load(file(embedded_model()))
    assert len(detector.models) == 1
    found = detector.worker().detect(picture, 0.5)
    for boxes in (found.faces, found.bodies):
        assert boxes.shape[1] == 5
        assert len(boxes) >= 1
        assert (boxes[:, :2] < boxes[:, 2:4]).all()
        assert boxes[:, :4].min() >= 0
        assert boxes[:, :4].max() <= 512
        assert (boxes[:, 4] > 0.5).all()
        assert (np.diff(boxes[:, 4]) <= 0).all()
    detector.close()
    detector.close()


def test_two_files_find_what_one_finds(picture: np.ndarray, tmp_path: Path) -> None:
    """A face model and a body model side by side; of a model that knows both, each role takes its own class."""
    other = with_metadata(tmp_path / "other.onnx", date="2000")
    together = load(file(embedded_model())).worker().detect(picture, 0.4)
    detector = load(file(embedded_model(), frozenset({"face"})), file(other, frozenset({"body"})))
    apart = detector.worker().detect(picture, 0.4)
    assert len(detector.models) == 2
    np.testing.assert_allclose(apart.faces, together.faces, atol=1e-3)
    np.testing.assert_allclose(apart.bodies, together.bodies, atol=1e-3)
    assert detector.model("body").file.path == other


class MeetingRequest(OpenVINORequest):
    """A request that counts those under way."""

    under_way: ClassVar[list[int]] = []
    met: ClassVar[list[int]] = []

    def start(self, images: Prepared, threshold: float) -> None:
        self.under_way.append(1)
        super().start(images, threshold)

    def wait(self) -> Predictions:
        self.met.append(len(self.under_way))
        return super().wait()


class MeetingEngine(OpenVINOEngine):
    """The real engine, with requests that count."""

    def request(self) -> MeetingRequest:
        return MeetingRequest(self)


def test_two_models_run_at_once_on_one_resize(
    picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are started before either is waited for; where they see the same picture it is made once."""
    entry = engines.Registration(__name__, "MeetingEngine", (".onnx",))
    monkeypatch.setitem(engines._REGISTRY, "openvino", entry)
    resized = []
    apply = Letterbox.apply

    def counting(letterbox: Letterbox, image: Image, out: Prepared) -> None:
        resized.append(letterbox)
        apply(letterbox, image, out)

    monkeypatch.setattr(Letterbox, "apply", counting)
    shipped = file(embedded_model(), frozenset({"face"}))
    for other, resizes in (({"date": "2000"}, 1), ({"imgsz": "[320, 320]"}, 2)):
        path = with_metadata(tmp_path / "other.onnx", **other)
        detector = load(shipped, file(path, frozenset({"body"})))
        worker = detector.worker()
        for record in (MeetingRequest.under_way, MeetingRequest.met, resized):
            record.clear()
        assert len(worker.detect(picture, 0.4).bodies) >= 1
        assert MeetingRequest.met == [2, 2]
        assert len(resized) == resizes


def test_all_classes_of_a_face_model_count(picture: np.ndarray, tmp_path: Path) -> None:
    """A dedicated face model may call its faces what it likes."""
    path = with_metadata(tmp_path / "faces.onnx", names="{0: 'masked', 1: 'unmasked'}")
    detector = load(file(path, frozenset({"face"})), file(embedded_model(), frozenset({"body"})))
    found = detector.worker().detect(picture, 0.5)
    both = load(file(embedded_model())).worker().detect(picture, 0.5)
    assert len(found.faces) == len(both.faces) + len(both.bodies)


@pytest.mark.parametrize(
    ("roles", "names", "words"),
    [
        ({"body"}, "{0: 'cat', 1: 'dog'}", "no class 'person'.*cat, dog"),
        ({"face", "body"}, "{0: 'person', 1: 'dog'}", "no class 'face'.*person, dog"),
        ({"face"}, "{0: 'person', 1: 'dog'}", "no class 'face'"),
    ],
)
def test_a_model_of_other_classes_is_refused(
    tmp_path: Path, roles: set[Role], names: str, words: str
) -> None:
    """Its classes are listed, the variable is named."""
    path = with_metadata(tmp_path / "pets.onnx", names=names)
    with pytest.raises(ModelError, match=rf"^FACE_MODEL_PATH: .*pets\.onnx: .*{words}"):
        load(file(path, frozenset(roles)))


def test_a_model_that_answers_otherwise_than_it_says_is_refused(tmp_path: Path) -> None:
    """Three classes by its metadata, two by its output; NMS inside by its metadata, anchors by its output."""
    for change in ({"names": "{0: 'person', 1: 'face', 2: 'hat'}"}, {"end2end": "True"}):
        with pytest.raises(ModelError, match=r"answers with the shape \(1, 6, 2184\)"):
            load(file(with_metadata(tmp_path / "odd.onnx", **change)))


def test_a_fixed_input_is_kept_to(picture: np.ndarray, tmp_path: Path) -> None:
    """A model exported for one size gets frames of any shape laid into that size."""
    detector = load(file(with_fixed_input(tmp_path / "fixed.onnx", 416, 416)))
    assert detector.models[0].engine.input_shape == InputShape(416, 416)
    square = detector.worker().detect(picture, 0.5)
    free = load(file(embedded_model())).worker().detect(picture, 0.5)
    np.testing.assert_allclose(square.faces, free.faces, atol=0.05)
    wide = detector.worker().detect(np.ascontiguousarray(picture[:200]), 0.5)
    assert len(wide.faces) >= 1


def test_the_input_s_longest_side_has_a_limit(tmp_path: Path) -> None:
    """MAX_FRAME_SIZE caps what a free model gets, in whole strides, and refuses what a fixed one demands."""
    assert load(file(embedded_model()), max_input=400).models[0].longest == 384
    with pytest.raises(ModelError, match="MAX_FRAME_SIZE=400"):
        load(file(with_fixed_input(tmp_path / "fixed.onnx", 416, 416)), max_input=400)
    with pytest.raises(ModelError, match="less than the model's stride"):
        load(file(with_metadata(tmp_path / "coarse.onnx", stride="64")), max_input=32)


def test_what_a_model_says_of_nothing_is_not_shown(picture: np.ndarray) -> None:
    """At a threshold of 0 hundreds of boxes come; every one is a box in the frame."""
    found = load(file(embedded_model())).worker().detect(np.zeros_like(picture), 0.0)
    boxes = np.concatenate([found.faces, found.bodies])
    assert 0 < len(boxes) <= 300
    assert (boxes[:, :2] < boxes[:, 2:4]).all()
    assert np.isfinite(boxes).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (33, 77)])
def test_any_shape_of_frame_is_looked_at(shape: tuple[int, int]) -> None:
    """One pixel, a line, odd sides."""
    frame = np.full((*shape, 3), 128, np.uint8)
    found = load(file(embedded_model())).worker().detect(frame, 0.5)
    assert found.faces.shape[1] == found.bodies.shape[1] == 5


def test_what_was_compiled_and_damaged_since_is_compiled_anew(
    picture: np.ndarray, tmp_path: Path
) -> None:
    """OpenVINO would take it, and answer wrongly or not at all."""
    path = tmp_path / "m.onnx"
    path.write_bytes(embedded_model().read_bytes())
    before = load(file(path)).worker().detect(picture, 0.5)
    blobs = list(tmp_path.glob(".cache/*/*.blob"))
    assert blobs
    for blob in blobs:
        content = np.frombuffer(blob.read_bytes(), np.uint8).copy()
        content[len(content) // 4 : len(content) * 3 // 4 : 97] ^= 0x5A
        blob.unlink()
        blob.write_bytes(content.tobytes())
    after = load(file(path)).worker().detect(picture, 0.5)
    assert len(before.faces) > 0
    np.testing.assert_array_equal(after.faces, before.faces)
    np.testing.assert_array_equal(after.bodies, before.bodies)
