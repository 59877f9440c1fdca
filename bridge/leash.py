"""Runs a command that is told to end when its parent dies: ``python -m bridge.leash PARENT_PID COMMAND...``.

The parent's death is told by the kernel (prctl(2), PR_SET_PDEATHSIG), so it is told even where the parent was
killed. It is set between fork and exec by this small process, because a parent with threads must not run
Python in a forked child.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)  # it died before it could be told
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command line


if __name__ == "__main__":
    main()
