"""Which file serves, and what is said of one that cannot."""

from pathlib import Path

import pytest

from detector_service.detection import model_files
from detector_service.detection.model_files import Choice, choose, content_hash, embedded_model
from detector_service.errors import ModelError

LOADABLE = (".onnx", ".xml", "/")


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
@pytest.mark.parametrize(
    ("name", "cure"),
    [("w.pt", "yolo export"), ("w.engine", "yolo export"), ("w.txt", "can be loaded")],
)
def test_a_file_that_cannot_be_loaded_is_an_error_wherever_it_lies(
    tmp_path: Path, name: str, cure: str, was_set: bool
) -> None:
    """A file at a default path is meant to serve, and so is refused as loudly as one that was set."""
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match="BODY_MODEL_PATH=") as error:
        choose(
            face(tmp_path / "a", was_set=False), body(tmp_path / name, was_set=was_set), LOADABLE
        )
    assert cure in str(error.value)


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


def test_what_is_compiled_lies_beside_the_model(tmp_path: Path) -> None:
    """The folder is named by the weights, so that other weights never find it."""
    folder = model_files.cache_folder(tmp_path / "m.onnx", "0123456789abcdef99")
    assert folder == tmp_path / ".cache" / "0123456789abcdef"
    assert folder.is_dir()


def test_what_is_compiled_lies_elsewhere_where_the_model_s_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the way stands for a read-only folder, which root could write."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / ".cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    folder = model_files.cache_folder(tmp_path / "models" / "m.onnx", "0123456789abcdef99")
    assert folder == tmp_path / "user" / "crowd-detector" / "0123456789abcdef"


def test_nowhere_to_write_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container of a user without a home, on a read-only disk."""
    (tmp_path / ".cache").touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert model_files.cache_folder(tmp_path / "m.onnx", "0123456789abcdef99") is None


def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the service may not be who owns the models."""

    def denied(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(ModelError, match=r"FACE_MODEL_PATH=.*: cannot be read: Permission denied"):
        choose(face(tmp_path / "m.onnx"), body(tmp_path / "b"), LOADABLE)
