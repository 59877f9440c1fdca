"""Runs a command that is told to end when its parent dies: ``python -m bridge.parent_death PARENT_PID COMMAND...``.

The parent's death is told by the kernel: with SIGTERM (prctl(2), PR_SET_PDEATHSIG), so it is told even where the parent
was killed, and with SIGHUP and SIGCONT to a process group that has a stopped process in it and nobody left in its session
to continue it (setpgid(2)), so even a stopped process goes on, and ends. All this is set between fork and exec
by this small process, because a parent with threads must not run Python in a forked child.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_VARIABLE: Final = "CROWD_DETECTOR_PROCESS_GROUP"


def ends_with_parent() -> bool:
    """Return whether this process group is a supervisor's, so that no terminal sends it a Ctrl-C."""
    return os.environ.get(_VARIABLE) == str(os.getpgrp())


def main() -> None:
    """Become the command."""
    parent, *command = sys.argv[1:]
    os.environ[_VARIABLE] = str(os.getpgrp())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it comes with a SIGTERM, which drains
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it may write to the terminal all the same
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)  # it died before it could be told
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command line


if __name__ == "__main__":
    main()
