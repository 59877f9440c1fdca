"""Which file serves, and what is said of one that cannot."""

from pathlib import Path

import pytest

from detector_service.detection.model_files import Choice, choose, content_hash, embedded_model
from detector_service.errors import ModelError

LOADABLE = (".onnx", ".xml", "/", ".pt")


def face(path: Path, *, was_set: bool = True) -> Choice:
    """Make a choice for the face model."""
    return Choice("FACE_MODEL_PATH", path, was_set)


def body(path: Path, *, was_set: bool = True) -> Choice:
    """Make a choice for the body model."""
    return Choice("BODY_MODEL_PATH", path, was_set)


def test_the_embedded_model_serves_where_nothing_lies_at_the_default_paths(tmp_path: Path) -> None:
    """One file for both roles, marked as the one that ships."""
    (only,) = choose(
        face(tmp_path / "a.pt", was_set=False), body(tmp_path / "b.pt", was_set=False), LOADABLE
    )
    assert only.path == embedded_model()
    assert only.path.is_file()
    assert only.embedded
    assert only.roles == {"face", "body"}


def test_two_files_have_a_role_each(tmp_path: Path) -> None:
    """Each is loaded for its role, and named by its variable."""
    for name in ("face.onnx", "body.onnx"):
        (tmp_path / name).touch()
    first, second = choose(face(tmp_path / "face.onnx"), body(tmp_path / "body.onnx"), LOADABLE)
    assert (first.roles, first.variables) == (frozenset({"face"}), "FACE_MODEL_PATH")
    assert (second.roles, second.variables) == (frozenset({"body"}), "BODY_MODEL_PATH")


def test_one_file_by_two_names_is_loaded_once(tmp_path: Path) -> None:
    """A link to the same file is the same file."""
    (tmp_path / "both.onnx").touch()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "both.onnx")
    (only,) = choose(face(tmp_path / "both.onnx"), body(tmp_path / "link.onnx"), LOADABLE)
    assert only.roles == {"face", "body"}


def test_a_path_that_was_set_must_exist(tmp_path: Path) -> None:
    """Never a silent fall-back: the variable, the file and the cure are named."""
    with pytest.raises(ModelError, match=r"FACE_MODEL_PATH=.*gone\.onnx: there is no such file"):
        choose(face(tmp_path / "gone.onnx"), body(tmp_path / "b", was_set=False), LOADABLE)


@pytest.mark.parametrize("was_set", [True, False])
@pytest.mark.parametrize("name", ["w.tflite", "w.txt", "w"])
def test_a_file_that_cannot_be_loaded_is_an_error_wherever_it_lies(
    tmp_path: Path, name: str, was_set: bool
) -> None:
    """A file at a default path is meant to serve, and so is refused as loudly as one that was set."""
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match="BODY_MODEL_PATH=") as error:
        choose(
            face(tmp_path / "a", was_set=False), body(tmp_path / name, was_set=was_set), LOADABLE
        )
    assert "these can: .onnx, .xml, /, .pt" in str(error.value)


@pytest.mark.parametrize(
    ("name", "form"), [("m.PT", "pt"), ("m.onnx", "onnx"), ("m.xml", "openvino"), ("", "openvino")]
)
def test_a_file_knows_its_format(tmp_path: Path, name: str, form: str) -> None:
    """By its ending, whatever its case; a folder is OpenVINO's."""
    if name:
        (tmp_path / name).touch()
    (file,) = choose(face(tmp_path / name), body(tmp_path / name), LOADABLE)
    assert file.format == form


def test_the_hash_is_of_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    """A changed .bin changes the hash of its .xml and of its folder."""
    (tmp_path / "m.xml").write_text("graph")
    weights = tmp_path / "m.bin"
    weights.write_bytes(b"1")
    before = content_hash(tmp_path / "m.xml"), content_hash(tmp_path)
    weights.write_bytes(b"2")
    after = content_hash(tmp_path / "m.xml"), content_hash(tmp_path)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the service may not be who owns the models."""

    def denied(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(ModelError, match=r"FACE_MODEL_PATH=.*: cannot be read: Permission denied"):
        choose(face(tmp_path / "m.onnx"), body(tmp_path / "b"), LOADABLE)
