"""Ports to listen on: on every address of a host, the same one."""

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from bridge.addresses import is_anywhere
from bridge.errors import ConfigurationError

_ATTEMPTS: Final = 100  # to find a port that is free on every address
#: Below those that Linux gives to whoever asks for any (ip_local_port_range): it must not give away what was found
#: here before a process listens on it.
_QUIET: Final = range(20_000, 32_768)


def hosts(host: str) -> list[str]:
    """Return what to listen on for a host: for `::`, every address of this machine, as gRPC has it."""
    return ["0.0.0.0", host] if ":" in host and is_anywhere(host) else [host]  # noqa: S104 - as asked for


def to_listen_on(host: str, port: int) -> int:
    """Return a port's number; where it is 0, and the host has several addresses, one that is free on all.

    Raises:
        OSError: the host has no address, or none of this machine.
    """
    return port if port or len(_addresses(host)) == 1 else free(host)


def free(host: str) -> int:
    """Return a port that is free on every address of a host.

    Raises:
        OSError: the host has no address, or none of this machine.
    """
    for left in reversed(range(_ATTEMPTS)):
        with ExitStack() as probes:
            try:
                return _bind(probes, host, random.choice(_QUIET), socket.SO_REUSEADDR)  # noqa: S311 - no secret
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not left:
                    raise
    raise AssertionError


@contextmanager
def held(host: str, port: int) -> Iterator[int]:
    """Hold a port, 0 for a free one, for processes that share it; it gets no connections. Give its number.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    with ExitStack() as holders:
        try:
            port = to_listen_on(host, port)
            # Without SO_REUSEPORT first: a port that another bridge shares among its workers is not free.
            with ExitStack() as probes:
                port = _bind(probes, host, port, socket.SO_REUSEADDR)
            _bind(holders, host, port, socket.SO_REUSEPORT)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        yield port


def cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    """Return what there is to say of an address that cannot be used: the cause and the cure."""
    match error.errno:
        case errno.EADDRINUSE:
            cure = "choose another PORT, or end what uses this one"
        case errno.EACCES:
            cure = "choose a PORT of 1024 or more, or let this user have lower ones"
        case _:
            cure = "HOST must be an address or a name of this machine, or 0.0.0.0 or :: for all of its addresses"
    return ConfigurationError(
        f"HOST={host}, PORT={port}: cannot listen there ({error.strerror}); {cure}"
    )


def _bind(sockets: ExitStack, host: str, port: int, option: int) -> int:
    """Bind a socket to each address; return the port."""
    for family, address in _addresses(host):
        bound = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio does
        bound.bind((address[0], port, *address[2:]))
        port = bound.getsockname()[1]
    return port


def _addresses(host: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = [
        (family, address)
        for each in hosts(host)
        for family, _, _, _, address in socket.getaddrinfo(
            each, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    ]
    return list(dict.fromkeys(found))  # type: ignore[arg-type] # IPv6 addresses are longer tuples
