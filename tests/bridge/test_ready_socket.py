"""A child is heard by its own supervisor."""

import pytest

from bridge.ready_socket import ReadySocket
from telemetry.readiness import VARIABLE, say_ready
from tests.servers import until


async def test_each_socket_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each supervisor is process 1, of a container that shares its network with others."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    with ReadySocket() as one, ReadySocket() as other:
        monkeypatch.setenv(VARIABLE, other.name)
        say_ready()
        await until(other.ready.is_set)
        assert not one.ready.is_set()
