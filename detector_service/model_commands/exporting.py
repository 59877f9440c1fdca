"""``detector models export``: a model as another kind of file, to be carried to another machine."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Final

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.output import Output

from detector_service import engines
from detector_service.builds.cache import BuildCache
from detector_service.builds.export import Kind, exported
from detector_service.detection import model_files
from detector_service.detection.model_files import ModelFile
from detector_service.errors import ModelError
from detector_service.model_commands import surroundings
from detector_service.model_commands.formats import Format
from detector_service.model_commands.surroundings import Surroundings

#: What Ultralytics calls its exports, so that its own tools know them: after the stem of the weights' name.
_NAMES: Final = {
    Format.OPENVINO: "{}_openvino_model",
    Format.ONNX: "{}.onnx",
    Format.ENGINE: "{}.engine",
}


def run(path: Path, kind: Format, to: Path | None, here: Surroundings, *, as_json: bool) -> None:
    """Export a model; what was exported before is taken from the cache.

    Raises:
        Failure: something lies where it should go.
        ModelError: it cannot be exported.
        OSError: it cannot be written.
    """
    output = Output(as_json=as_json)
    file = surroundings.given(path)
    target = (to or file.path.parent) / _NAMES[kind].format(file.path.stem)
    if target.exists():
        raise Failure(
            f"{target}: lies there already; move it away, or export into another folder with --to",
            ExitCode.USAGE,
        )
    match kind:
        case Format.ENGINE:
            made = _engine(file, here)
        case Format.ONNX:
            made = next(_exported(file, "onnx", here).glob("*.onnx"))
        case Format.OPENVINO:
            made = _exported(file, "openvino", here)
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(made, target)
    if output.for_people:
        output.tell(f"{target} is there; set FACE_MODEL_PATH or BODY_MODEL_PATH to it")
    else:
        output.line({"path": str(target), "format": kind.value, "source": str(file.path)})


def _exported(file: ModelFile, kind: Kind, here: Surroundings) -> Path:
    if file.ending != ".pt":
        raise ModelError(
            f"{file.path}: only weights (.pt) are exported as {kind}; give the .pt that training wrote"
        )
    return exported(
        file.path,
        model_files.content_hash(file.path),
        kind,
        allow_unsafe=here.settings.allow_unsafe_models,
        stop=threading.Event(),
    )


def _engine(file: ModelFile, here: Surroundings) -> Path:
    """Build a TensorRT engine for the GPU that is here; return its file."""
    if file.ending not in engines.suffixes("tensorrt") or file.ending == ".engine":
        raise ModelError(
            f"{file.path}: TensorRT engines are built of weights (.pt) or ONNX; give one of these"
        )
    tensorrt = engines.module("tensorrt", file.path)
    if not here.machine.torch_on_gpu:
        raise ModelError(
            f"{file.path}: TensorRT builds for the GPU that is here, and there is none that PyTorch can use; do it "
            "on the machine that is to serve, with USE_GPU=true"
        )
    content, source = model_files.content_hash(file.path), file.path
    if kind := engines.needs_export("tensorrt", file.ending):
        source = exported(
            source,
            content,
            kind,
            allow_unsafe=here.settings.allow_unsafe_models,
            stop=threading.Event(),
        )
    options = engines.EngineOptions(
        precision=here.settings.precision,
        parallel=1,
        cache=None,
        builds=BuildCache(file.path, content),
        gpu=here.settings.gpu,
        max_input=here.settings.max_frame_size,
    )
    built: Path = tensorrt.built(source, options)
    return built


def _copy(made: Path, target: Path) -> None:
    """Copy a file or a folder, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=target.parent) as folder:
        copy = Path(folder) / target.name
        if made.is_dir():
            shutil.copytree(made, copy, ignore=shutil.ignore_patterns("build.json"))
        else:
            shutil.copyfile(made, copy)
        copy.rename(target)
