"""What many tests share: photographs, and the rule for tests that need a system program."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).resolve().parent.parent
_REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in ("", "0")


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Let the log be again what it was: a test's output is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The photograph that ships with the project: a person and a face, 512 x 512."""
    return (ROOT / "models" / "astronaut.jpg").read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a program that is not here, unless everything is required."""
    for item in items:
        for marker in item.iter_markers("needs"):
            program, package = marker.args
            if not _REQUIRE_ALL and shutil.which(program) is None:
                item.add_marker(
                    pytest.mark.skip(reason=f"needs {program}: apt-get install {package}")
                )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail what needs a program that is not here, where everything is required."""
    for marker in item.iter_markers("needs"):
        program, package = marker.args
        if shutil.which(program) is None:
            pytest.fail(f"REQUIRE_ALL is set, and {program} is missing: apt-get install {package}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and how to have it run."""
    left_out = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "needs " in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.section("left out for want of a system package")
        for report in left_out:
            reason = report.longrepr[2].removeprefix("Skipped: ") if report.longrepr else ""
            terminalreporter.write_line(f"{report.nodeid}: {reason}")
