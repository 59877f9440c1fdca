"""The shells' completion scripts."""

from enum import StrEnum
from typing import Final

from typer import completion


class Shell(StrEnum):
    """Those that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


#: Set by the script, when it asks what a word could become.
VARIABLE: Final = "_DETECTOR_COMPLETE"


def answer() -> None:
    """Make ready to answer what the script asks."""
    completion.completion_init()  # type: ignore[attr-defined] # imported there


def script(shell: Shell) -> str:
    """Return what the shell has to read at its start."""
    return completion.get_completion_script(  # type: ignore[attr-defined] # imported there
        prog_name="detector", complete_var=VARIABLE, shell=shell.value
    )
