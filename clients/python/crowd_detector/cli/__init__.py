"""The command line ``detector``; docs/command-line.md lists what it can do.

This module alone can be imported where the packages of the extra `cli` are missing: it says so.
"""

import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

_NEEDED: Final = ("av", "PIL", "rich", "typer")
_USAGE: Final = 2  # ExitCode.USAGE, which cannot be imported before it is known that all is there


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    # Until a command heeds Ctrl-C itself, it ends the program; Python's way would be a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sentence = (
            f"detector: the command line needs more than the library ({', '.join(missing)} is missing): "
            "pip install 'crowd-detector[cli]'"
        )
        print(sentence, file=sys.stderr)
        return _USAGE
    from crowd_detector.cli import app  # noqa: PLC0415 - see above

    return app.run(sys.argv[1:] if arguments is None else arguments)
