"""Which file serves which role, and where what is compiled from it is kept."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detector_service.errors import ModelError

Role = Literal["face", "body"]

#: A file of these endings is a YOLO model that this version cannot run as it is.
_TO_EXPORT: Final = {".pt": "PyTorch weights", ".engine": "a TensorRT engine"}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file or folder, and why it is that one.

    Attributes:
        path: of the file or folder.
        variables: the environment variables that led to it, for messages.
        roles: what it is to find.
        embedded: whether it is the model that ships with the service.
    """

    path: Path
    variables: str
    roles: frozenset[Role]
    embedded: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a user said of one role's model.

    Attributes:
        variable: the name of the environment variable.
        path: its value, or the default.
        was_set: whether it is the user's own.
    """

    variable: str
    path: Path
    was_set: bool


def embedded_model() -> Path:
    """Return the model that ships with the service: beside the code, or in a checkout's models/."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "embedded" / "crowd-n.onnx"
    return installed if installed.is_file() else package.parent / "models" / "crowd-n.onnx"


def choose(face: Choice, body: Choice, loadable: tuple[str, ...]) -> tuple[ModelFile, ...]:
    """Choose the files: one for both roles where both lead to the same.

    Args:
        face: the face model's.
        body: the body model's.
        loadable: endings that can be loaded, "/" for folders.

    Raises:
        ModelError: a path that was set, or a file at a default path, cannot be used.
    """
    face_path, body_path = (_locate(choice, loadable) for choice in (face, body))
    if face_path == body_path:
        variables = f"{face.variable} and {body.variable}"
        return (_file(face_path, variables, frozenset({"face", "body"})),)
    return (
        _file(face_path, face.variable, frozenset({"face"})),
        _file(body_path, body.variable, frozenset({"body"})),
    )


def _file(path: Path, variables: str, roles: frozenset[Role]) -> ModelFile:
    return ModelFile(path, variables, roles, embedded=path == embedded_model())


def _locate(choice: Choice, loadable: tuple[str, ...]) -> Path:
    named = f"{choice.variable}={choice.path}"
    try:
        exists = choice.path.exists()
    except OSError as error:
        raise ModelError(f"{named}: cannot be read: {error.strerror}") from error
    if not exists:
        if choice.was_set:
            raise ModelError(
                f"{named}: there is no such file; correct the path, or unset {choice.variable} "
                "to use the model that ships with the service"
            )
        return embedded_model()
    ending = "/" if choice.path.is_dir() else choice.path.suffix.lower()
    if ending in loadable:
        return choice.path.resolve()
    if ending in _TO_EXPORT:
        raise ModelError(
            f"{named}: {_TO_EXPORT[ending]}, which this version cannot load; export the model with "
            f"`yolo export model=WEIGHTS.pt format=onnx dynamic=True` (pip install "
            f"ultralytics-opencv-headless) and set {choice.variable} to the .onnx file"
        )
    raise ModelError(
        f"{named}: not a kind of file that can be loaded; these can: {', '.join(loadable)} "
        "(/ stands for an OpenVINO folder)"
    )


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a model's files, in hexadecimal: of an .xml also its .bin, of a folder all.

    Raises:
        ModelError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            files = sorted(path.iterdir())
        else:
            files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
        for file in files:
            if file.is_file():
                with file.open("rb") as stream:
                    while chunk := stream.read(1 << 20):
                        digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def cache_folder(path: Path, content: str) -> Path | None:
    """Return a folder for what is compiled from a model, beside it where that can be written.

    Args:
        path: the model's file or folder.
        content: its content_hash, which names the folder, so that other weights never find it.

    Returns:
        The folder, or None where nothing can be written anywhere: then each start compiles anew.
    """
    for parent in (_beside, _of_user):
        try:
            folder = parent(path) / content[:16]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            continue
    return None


def _beside(path: Path) -> Path:
    return path.parent / ".cache"


def _of_user(_path: Path) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowd-detector"
