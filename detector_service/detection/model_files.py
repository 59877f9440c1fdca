"""Which file serves which role."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detector_service.errors import ModelError

Role = Literal["face", "body"]

#: What is said of a model's file in `ModelInfo.format`, by its ending.
_FORMATS: Final = {
    ".pt": "pt",
    ".onnx": "onnx",
    ".xml": "openvino",
    "/": "openvino",
    ".engine": "tensorrt",
}


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

    @property
    def ending(self) -> str:
        """The ending of its name, in lower case; of a folder "/"."""
        return "/" if self.path.is_dir() else self.path.suffix.lower()

    @property
    def format(self) -> str:
        """The kind of file: "pt", "onnx", "openvino", "tensorrt"."""
        return _FORMATS.get(self.ending, self.ending)


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
    return _shipped("crowd-n.onnx")


def embedded_photograph() -> Path:
    """Return the photograph that ships with the service: a person and a face, 512 x 512, public domain."""
    return _shipped("astronaut.jpg")


def _shipped(name: str) -> Path:
    package = Path(__file__).resolve().parent.parent
    installed = package / "embedded" / name
    return installed if installed.is_file() else package.parent / "models" / name


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
