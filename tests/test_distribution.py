"""What is installed: the base stays light, the wheel carries what it needs."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.servers import ROOT

ONLY = """
import sys
from importlib.abc import MetaPathFinder

class Only(MetaPathFinder):
    allowed = {{"crowd", "google", "grpc", "typing_extensions", {allowed}}} | sys.stdlib_module_names
    def find_spec(self, name, path, target=None):
        if name.startswith("_sysconfigdata"):
            return None  # of the standard library, under a name of the platform's
        if name.partition(".")[0] not in self.allowed or name.startswith("google.rpc"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Only())
{then}
"""
ONLY_BASE = ONLY.format(
    allowed="'crowd_detector'",
    then="import crowd_detector.cli; print(crowd_detector.DetectorClient.__name__)",
)
BRIDGE_NEEDS = (
    "annotated_types",
    "bridge",
    "dotenv",
    "grpc_health",
    "msgspec",
    "opentelemetry",
    "prometheus_client",
    "psutil",
    "pybase64",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "structlog",
    "telemetry",
    "typing_inspection",
    "websockets",
)
ONLY_BRIDGE = ONLY.format(
    allowed=", ".join(map(repr, BRIDGE_NEEDS)),
    then="import bridge.worker, bridge.__main__, bridge.run; print(bridge.worker.BridgeServer.__name__)",
)


def test_the_client_needs_grpcio_and_protobuf_only() -> None:
    """The library and its command line can be imported where nothing else is installed."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_BASE], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("DetectorClient\n", "")


def test_the_bridge_needs_its_extra_only() -> None:
    """No model, no numpy, nothing of the service's insides, and nothing of the client library's."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_BRIDGE], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("BridgeServer\n", "")


def test_the_wheel_carries_the_code_the_contract_and_the_model(tmp_path: Path) -> None:
    """An installed service needs no checkout."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("crowd_detector-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "crowd/detector/v1/detector.proto",
        "crowd/detector/v1/detector_pb2.py",
        "crowd_detector/client.py",
        "crowd_detector/py.typed",
        "bridge/server.py",
        "bridge/py.typed",
        "telemetry/logs.py",
        "telemetry/metrics.py",
        "telemetry/py.typed",
        "detector_service/server.py",
        "detector_service/embedded/crowd-n.onnx",
        "detector_service/embedded/astronaut.jpg",
        "detector_service/model_commands/catalogue.toml",
    } <= names
    assert not [
        name for name in names if name.startswith(("tests/", "benchmarks/", "models/", "training/"))
    ]


def test_pip_install_brings_the_client(tmp_path: Path) -> None:
    """`pip install .`, as the README says; here without fetching what it depends on."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "."],
        cwd=ROOT,
        env=os.environ
        | {"PIP_TARGET": str(tmp_path), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"},
        check=True,
    )
    done = subprocess.run(
        [sys.executable, "-c", "import crowd_detector; print(crowd_detector.__file__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "crowd_detector" / "__init__.py")


def test_extras_and_scripts_have_the_fixed_names() -> None:
    """What a user types after `pip install crowd-detector` stays as it is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"service", "bridge", "torch", "tensorrt", "postgres", "redis", "ray", "dev"} <= set(
        project["optional-dependencies"]
    )
    assert {"detector-service", "detector", "detector-bridge", "detector-run"} <= set(
        project["scripts"]
    )
    assert project["entry-points"]["crowd_detector.models"] == {
        "files": "detector_service.model_commands.commands:commands"
    }
    assert [requirement.partition(">")[0] for requirement in project["dependencies"]] == [
        "grpcio",
        "protobuf",
    ]
