"""What the command's exit codes mean: the one table, for the help, the documentation and the code."""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """What became of a command."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a number that knows its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "all was answered"
    FRAMES = (
        1,
        "some images or frames could not be answered, the others were; or engines find different things",
    )
    USAGE = 2, "wrong usage: a flag, a configuration file, a path that is not there"
    UNAVAILABLE = (
        3,
        "no service answers, or not any more; nor the server that weights are fetched from",
    )
    REFUSED = 4, "the service refuses: the token, what was asked, too much to do"
    SOURCE = (
        5,
        "the video or camera cannot be read, or not to its end; what came before was answered",
    )
    OUTPUT = 6, "the output cannot be written; what was written before is valid"
    MODEL = 7, "a model cannot be loaded, exported or fetched"
    BUG = 70, "a mistake in this program"
    INTERRUPTED = 130, "Ctrl-C; what was written is valid"
    PIPE_CLOSED = 141, "whoever read the output went away"
    TERMINATED = 143, "told to end (SIGTERM); what was written is valid"


def table() -> str:
    """Return the codes and their meanings, one a line."""
    return "\n".join(f"{code.value:>4}  {code.meaning}" for code in ExitCode)
