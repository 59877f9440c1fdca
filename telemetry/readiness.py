"""How a process tells its supervisor that it serves, and that it ends: the protocol of sd_notify(3)."""

import os
import socket
from contextlib import suppress
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = b"READY=1"


def say_ready() -> None:
    """Tell whoever supervises this process (detector-run, systemd), if anyone does, that it serves."""
    _say(READY)


def say_stopping() -> None:
    """Tell them that it has begun to end."""
    _say(b"STOPPING=1")


def _say(what: bytes) -> None:
    name = os.environ.get(VARIABLE)
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, suppress(OSError):
        out.sendto(what, address)
