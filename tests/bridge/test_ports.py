"""Where the bridge listens: every address of its host, one port."""

import errno
import socket
import urllib.request
from typing import Any

import pytest

from bridge import ports
from bridge.errors import ConfigurationError
from tests.bridge.bridges import bridging


def has_ipv6() -> bool:
    """Return whether this machine has IPv6's loopback address; a container may know the family and lack it."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses."""
    known = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "several.example":
            return known(host, port, *args, **options)
        return [
            answer
            for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1")
            for answer in known(address, port, *args, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def ask(host: str, port: int) -> int:
    """Return the status of /openapi.json there."""
    with urllib.request.urlopen(f"http://{host}:{port}/openapi.json", timeout=30) as answer:
        return int(answer.status)


async def serves(host: str, *reached: str) -> bool:
    """Return whether a bridge that listens on a free port is reached at all these addresses."""
    import asyncio

    async with bridging("127.0.0.1:1", host=host) as bridge:
        return {await asyncio.to_thread(ask, each, bridge.port) for each in reached} == {200}


@pytest.mark.usefixtures("several")
async def test_a_name_with_several_addresses() -> None:
    """A free port is the same on all of them."""
    assert await serves("several.example", "127.0.0.1", "127.0.0.2")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_anywhere_is_both_families() -> None:
    """As with gRPC's port."""
    assert await serves("::", "127.0.0.1", "[::1]")
    assert await serves("::1", "[::1]")


@pytest.mark.usefixtures("several")
def test_a_port_that_is_taken_on_one_address_is_not_free() -> None:
    """Nor is one that others share."""
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
            other.bind(("127.0.0.2", 0))
            other.listen()
            port = other.getsockname()[1]
            with (
                pytest.raises(ConfigurationError, match=f"PORT={port}: .*end what uses this one"),
                ports.held("several.example", port),
            ):
                pass


@pytest.mark.usefixtures("several")
def test_a_port_that_is_held() -> None:
    """Those that share it may listen; others may not."""
    with ports.held("several.example", 0) as port:
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.socket() as worker:
                worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                worker.bind((address, port))
                worker.listen()
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((address, port))


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "choose another PORT, or end what uses this one"),
        (OSError(errno.EACCES, "denied"), "choose a PORT of 1024 or more"),
        (OSError(errno.EADDRNOTAVAIL, "not here"), "HOST must be an address"),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), "HOST must be an address"),
    ],
)
def test_the_cure_is_that_of_the_cause(error: OSError, cure: str) -> None:
    """Both variables are named."""
    text = str(ports.cannot_listen("h", 7, error))
    assert text.startswith(f"HOST=h, PORT=7: cannot listen there ({error.strerror}); ")
    assert cure in text


async def test_a_host_of_no_machine_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match=r"HOST=nowhere\.invalid, .*HOST must be"):
        async with bridging("127.0.0.1:1", host="nowhere.invalid"):
            pass
