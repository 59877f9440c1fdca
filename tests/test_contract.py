"""The contract: it is linted, its generated code fits the bounds the distribution states."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.descriptor import EnumDescriptor

from tests.servers import ROOT

GENERATED = ROOT / "protos" / "crowd" / "detector" / "v1"


def test_buf_lint_is_clean() -> None:
    """STANDARD rules, and a comment on everything."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "buf"), "lint"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_has_the_documented_calls() -> None:
    """Their names and kinds are fixed."""
    service = pb.DESCRIPTOR.services_by_name["DetectorService"]
    kinds = {
        method.name: (method.client_streaming, method.server_streaming)
        for method in service.methods
    }
    assert service.full_name == "crowd.detector.v1.DetectorService"
    assert kinds == {
        "StreamDetections": (True, True),
        "Detect": (False, False),
        "BatchDetect": (False, False),
        "WatchAlerts": (False, True),
        "ReportAlert": (False, False),
        "GetModelInfo": (False, False),
        "GetStats": (False, False),
        "QueryHistory": (False, False),
    }


def test_calls_for_whoever_runs_the_service_are_apart() -> None:
    """In a service of their own, so that a proxy can keep it in."""
    service = pb.DESCRIPTOR.services_by_name["AdminService"]
    assert service.full_name == "crowd.detector.v1.AdminService"
    assert [method.name for method in service.methods] == ["ReloadModels"]


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (pb.CrowdLevel.DESCRIPTOR, ["EMPTY", "LOW", "MEDIUM", "HIGH", "VERY_HIGH"]),
        (pb.AlertType.DESCRIPTOR, ["CROWD_WARNING", "PROCESSING_ERROR", "CONNECTION_LIMIT"]),
        (pb.AlertLevel.DESCRIPTOR, ["INFO", "WARNING", "ERROR", "CRITICAL"]),
    ],
)
def test_enums_are_stable(enum: EnumDescriptor, names: list[str]) -> None:
    """The names that the JSON events use, numbered from 1 in their order."""
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
    assert [(value.name, value.number) for value in enum.values] == [
        (f"{prefix}_{name}", number) for number, name in enumerate(["UNSPECIFIED", *names])
    ]


def test_the_generated_code_works_with_the_oldest_versions_allowed() -> None:
    """What it demands of protobuf and grpcio is what pyproject.toml states."""
    messages, services = (
        (GENERATED / f"detector_pb2{end}.py").read_text() for end in ("", "_grpc")
    )
    demanded = re.search(r"PUBLIC,\s+(\d+),\s+(\d+),", messages)
    grpcio = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", services)
    assert demanded is not None
    assert grpcio is not None
    stated = (ROOT / "pyproject.toml").read_text()
    assert f'"protobuf>={demanded[1]}.{demanded[2]},' in stated
    assert f'"grpcio>={grpcio[1]},' in stated
