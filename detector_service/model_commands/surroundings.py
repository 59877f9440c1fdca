"""What the commands work with: the service's own settings, the machine, and the files that are meant."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from crowd_detector.cli.printable import printable

from detector_service import engines
from detector_service.builds import export
from detector_service.builds.cache import BuildCache, BuildName
from detector_service.detection import model_files
from detector_service.detection.metadata import Metadata
from detector_service.detection.model_files import ModelFile, Role
from detector_service.engines import Precision, engine_file, selection
from detector_service.engines.selection import Machine
from detector_service.errors import ModelError
from detector_service.settings import Settings, load_settings

_GIVEN: Final = "the file given"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What applies here, as it does to a service that is started here."""

    settings: Settings
    machine: Machine


@dataclass(frozen=True, slots=True)
class Way:
    """An engine and a precision that can run a file on this machine."""

    engine: str
    precision: Precision


def look() -> Surroundings:
    """Read the settings, see what the machine has, and let the service's log speak to people.

    Raises:
        ConfigurationError: a setting is not acceptable.
    """
    structlog.configure(
        processors=[_sentence], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    settings = load_settings()
    return Surroundings(settings, selection.look(settings.gpu))


def files(path: Path | None, here: Surroundings) -> tuple[ModelFile, ...]:
    """Return the file given, for whatever it can find; without one, those that would serve.

    Raises:
        ModelError: it cannot be used.
    """
    if path is None:
        return model_files.choose(
            here.settings.face_model, here.settings.body_model, engines.loadable()
        )
    plain = given(path)
    return (given(path, roles_of(metadata(plain, here))),)


def given(path: Path, roles: frozenset[Role] = frozenset()) -> ModelFile:
    """Return a file that the user names.

    Raises:
        ModelError: there is none, or no engine runs such files.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such file")
    file = ModelFile(
        path.resolve(), _GIVEN, roles, embedded=path.resolve() == model_files.embedded_model()
    )
    if file.ending not in engines.loadable():
        raise ModelError(
            f"{path}: not a kind of file that can be loaded; these can: {', '.join(engines.loadable())} "
            "(/ stands for an OpenVINO folder)"
        )
    return file


def metadata(file: ModelFile, here: Surroundings) -> Metadata:
    """Return what a model says of itself, without making it ready to run.

    Raises:
        ModelError: it is damaged, or PyTorch is needed to read it.
    """
    return Metadata.parse(_raw_metadata(file, here), file.path)


def _raw_metadata(file: ModelFile, here: Surroundings) -> Mapping[str, str]:
    path = file.path
    try:
        if file.ending == ".engine":
            return engine_file.split(path.read_bytes(), path)[0]
        if file.ending == ".pt":
            content = model_files.content_hash(path)
            build = BuildCache(path, content).find_of_any_maker(BuildName("openvino", "any", ""))
            if build is None:
                return _of_weights(path, content, here)
            path = build
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    from detector_service.engines import openvino  # noqa: PLC0415 - takes a while to import

    return openvino.read_metadata(path)


def _of_weights(path: Path, content: str, here: Surroundings) -> Mapping[str, str]:
    if not here.machine.torch:
        raise ModelError(
            f"{path}: PyTorch weights, and what is in them only PyTorch and Ultralytics can read: "
            f"pip install 'crowd-detector[{engines.needed_extras('torch')}]'"
        )
    from detector_service.builds import weights  # noqa: PLC0415 - likewise

    export.check_archive(path)
    return weights.read_metadata(path, content, allow_unsafe=here.settings.allow_unsafe_models)


def roles_of(described: Metadata) -> frozenset[Role]:
    """Return what a model can find."""
    roles: set[Role] = set()
    if "person" in described.classes:
        roles.add("body")
    if "face" in described.classes or not roles:
        roles.add("face")
    return frozenset(roles)


def ways(file: ModelFile, here: Surroundings) -> list[Way]:
    """Return the engines and precisions that can run a file here, the one to compare others with first.

    Raises:
        ModelError: none can.
    """
    machine, found = here.machine, []
    if machine.torch and file.ending in engines.suffixes("torch"):
        found.append(Way("torch", "fp32"))
        if machine.torch_on_gpu:
            found.append(Way("torch", "auto"))
    if file.ending in engines.suffixes("openvino"):
        found.append(Way("openvino", "fp32"))
        if precision("openvino", here) != "fp32":
            found.append(Way("openvino", "auto"))
    if machine.tensorrt and machine.torch_on_gpu and file.ending in engines.suffixes("tensorrt"):
        found.append(Way("tensorrt", "auto"))
    if not found:
        raise ModelError(
            f"{file.path}: nothing here runs {file.ending} files: TensorRT does, on a GPU that PyTorch can use "
            f"(pip install 'crowd-detector[{engines.needed_extras('tensorrt')}]')"
        )
    return found


def precision(engine: str, here: Surroundings) -> str:
    """Return what an engine would compute in here.

    Raises:
        ModelError: it cannot compute in what PRECISION wants.
    """
    wanted = here.settings.precision
    if engine == "openvino":
        from detector_service.engines import openvino  # noqa: PLC0415 - takes a while to import

        return openvino.choose_precision(wanted)
    if wanted != "auto":
        return wanted
    return "fp16" if here.machine.torch_on_gpu else "fp32"


def _sentence(_logger: Any, level: str, event: structlog.typing.EventDict) -> str:
    """Return what the service would write into its log, for people; most of it is not for them."""
    if level not in ("warning", "error") and event["event"] not in (
        "model.exporting",
        "model.build_awaited",
    ):
        raise structlog.DropEvent
    what = event["event"].partition(".")[2].replace("_", " ")
    return printable(f"detector: {event.get('path', '')}: {what}: {event.get('message', '')}")
