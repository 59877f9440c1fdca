"""Addresses as they are written, logged and shown."""

from typing import Any

import pytest

from bridge.addresses import is_anywhere, joined, reached_at
from bridge.run import RunSettings, _greeting


@pytest.mark.parametrize(
    ("host", "written", "anywhere", "reached"),
    [
        ("0.0.0.0", "0.0.0.0:80", True, "127.0.0.1"),
        ("::", "[::]:80", True, "::1"),
        ("0:0:0:0:0:0:0:0", "[0:0:0:0:0:0:0:0]:80", True, "::1"),
        ("127.0.0.1", "127.0.0.1:80", False, "127.0.0.1"),
        ("::1", "[::1]:80", False, "::1"),
        ("fe80::1%eth0", "[fe80::1%eth0]:80", False, "fe80::1%eth0"),
        ("192.0.2.7", "192.0.2.7:80", False, "192.0.2.7"),
        ("crowd.example", "crowd.example:80", False, "crowd.example"),
    ],
)
def test_an_address(host: str, written: str, anywhere: bool, reached: str) -> None:
    """IPv6 has brackets; what listens anywhere is reached here."""
    assert joined(host, 80) == written
    assert is_anywhere(host) == anywhere
    assert reached_at(host) == reached


@pytest.mark.parametrize(
    ("host", "detector", "bridge"),
    [
        ("0.0.0.0", "127.0.0.1:1", "localhost:2"),
        ("::", "[::1]:1", "localhost:2"),
        ("::1", "[::1]:1", "[::1]:2"),
        ("localhost", "localhost:1", "localhost:2"),
        ("192.0.2.7", "192.0.2.7:1", "192.0.2.7:2"),
        ("2001:db8::7", "[2001:db8::7]:1", "[2001:db8::7]:2"),
    ],
)
def test_what_is_shown_can_be_called(host: str, detector: str, bridge: str) -> None:
    """From this machine."""
    given: dict[str, Any] = {"_env_file": None, "host": host, "grpc_port": 1, "port": 2}
    settings = RunSettings(**given)
    first, second, _ = _greeting(settings).splitlines()
    assert first.split()[1] == detector
    assert second.split()[1:] == [f"http://{bridge}", f"ws://{bridge}/ws"]
