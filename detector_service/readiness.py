"""How the process tells its supervisor that it serves: the protocol of sd_notify(3), READY=1 to a socket."""

import os
import socket
from contextlib import suppress


def say_ready() -> None:
    """Tell whoever supervises this process (detector-run, systemd), if anyone does, that it serves."""
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, suppress(OSError):
        out.sendto(b"READY=1", address)
