"""The rule for tests that need a system program: left out and listed, or failed where all is required."""

import os
import subprocess
import sys
from pathlib import Path

TEST = """
import pytest

@pytest.mark.needs("no-such-program", "some-package")
def test_with_it():
    assert True

@pytest.mark.needs("sh", "dash")
def test_with_another():
    assert True
"""


def run(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a small suite under the project's rule."""
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    needs(program, package): as in the project\n"
    )
    (folder / "test_it.py").write_text(TEST)
    known = {name: value for name, value in os.environ.items() if name != "REQUIRE_ALL"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=known | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    """With the program that is missing and the command that brings it; the run passes."""
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "left out for want of a system package" in done.stdout
    assert "test_with_it: needs no-such-program: apt-get install some-package" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_nothing_is_left_out_where_all_is_required(tmp_path: Path) -> None:
    """REQUIRE_ALL=1 makes it a failure that names the same."""
    done = run(tmp_path, REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "no-such-program is missing: apt-get install some-package" in done.stdout
    assert "1 failed, 1 passed" in done.stdout or "1 passed, 1 error" in done.stdout
