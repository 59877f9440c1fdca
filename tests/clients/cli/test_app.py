"""The command itself: its help, its completion, and what it is without its packages."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.reference import reference

from tests.servers import ROOT

Detector = Callable[..., "subprocess.CompletedProcess[str]"]

WITHOUT = """
import sys

sys.modules |= dict.fromkeys(("av", "PIL", "rich", "typer"))  # as if they were not there
from crowd_detector.cli import main
sys.exit(main(["--help"]))
"""


def test_the_reference_is_what_the_code_gives() -> None:
    """`python -m crowd_detector.cli.reference > docs/command-line.md` makes it so."""
    assert (ROOT / "docs" / "command-line.md").read_text() == reference()


def test_help_lists_commands_and_exit_codes(detector: Detector) -> None:
    """And so does no command at all."""
    done = detector("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(code.meaning in done.stdout for code in ExitCode)
    for command in ("detect", "stream", "models", "stats", "health", "completion"):
        assert f"  {command} " in done.stdout
        assert detector(command, "--help").returncode == 0
    assert detector().stdout == done.stdout


def test_the_version(detector: Detector) -> None:
    """Of the package."""
    assert detector("--version").stdout == "crowd-detector 0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(detector: Detector, shell: str) -> None:
    """The shell's own script, which asks the command."""
    done = detector("completion", shell)
    assert done.returncode == 0
    assert "_DETECTOR_COMPLETE" in done.stdout
    assert "detector" in done.stdout


def test_what_the_script_asks(detector: Detector) -> None:
    """Gives the commands that begin so."""
    done = detector(COMP_WORDS="detector st", COMP_CWORD="1", _DETECTOR_COMPLETE="complete_bash")
    assert done.stdout.split() == ["stream", "stats"]


def test_an_unknown_shell_is_2(detector: Detector) -> None:
    """With those that are known."""
    done = detector("completion", "tcsh")
    assert done.returncode == 2
    assert done.stderr == (
        "detector: Invalid value for 'shell': 'tcsh' is not one of 'bash', 'zsh', 'fish'; "
        "see `detector --help`\n"
    )


def test_without_its_packages_it_says_what_to_install() -> None:
    """In one sentence, exit code 2."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert "pip install 'crowd-detector[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_library_alone_loads_none_of_them() -> None:
    """Whoever only calls the service does not wait for them."""
    asked = "import sys, crowd_detector; print([n for n in ('av', 'PIL', 'rich', 'typer') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n"


def test_models_stats_and_health(detector: Detector, server: str) -> None:
    """One line each."""
    models, stats, health = (
        json.loads(detector(command).stdout) for command in ("models", "stats", "health")
    )
    assert models["face"]["embedded"] is True
    assert stats["uptime"] > 0
    assert health == {"server": server, "serving": True}
