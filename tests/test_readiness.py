"""What systemd is told by each command, as a service of `Type=notify`."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from tests.servers import service_process


class Systemd:
    """A socket where a service tells how it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    async def told(self) -> str:
        """Return what it is told next."""
        async with asyncio.timeout(60):
            return (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()

    def close(self) -> str:
        """Return whatever was told besides."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(4096).decode()
        except BlockingIOError:
            return ""
        finally:
            self._socket.close()


@pytest.mark.parametrize(
    ("module", "workers"),
    [
        ("detector_service", "1"),
        ("bridge", "1"),
        ("bridge", "2"),
        ("bridge.run", "1"),
        ("bridge.run", "2"),
    ],
)
async def test_it_tells_once_that_it_serves_and_once_that_it_ends(
    tmp_path: Path, module: str, workers: str
) -> None:
    """Its children tell it, not systemd."""
    systemd = Systemd(tmp_path)
    async with service_process(
        module=module, BRIDGE_WORKERS=workers, NOTIFY_SOCKET=str(systemd.path)
    ) as service:
        assert await systemd.told() == "READY=1"
        service.signal(signal.SIGTERM)
        assert await systemd.told() == "STOPPING=1"
        assert await service.ended() == 0
    assert systemd.close() == ""


@pytest.mark.parametrize("module", ["bridge", "bridge.run"])
async def test_what_never_served_is_not_said_to(tmp_path: Path, module: str) -> None:
    """A worker that cannot start ends all."""
    (tmp_path / "tokens").touch()
    systemd = Systemd(tmp_path)
    async with service_process(
        module=module,
        BRIDGE_WORKERS="2",
        AUTH_TOKENS_FILE=str(tmp_path / "tokens"),
        NOTIFY_SOCKET=str(systemd.path),
    ) as service:
        assert await service.ended() == 2
    assert await systemd.told() == "STOPPING=1"
    assert systemd.close() == ""
