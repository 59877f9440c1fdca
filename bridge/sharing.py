"""What the workers of one bridge share; made by the process that watches them."""

import socket
from collections.abc import Sequence
from typing import NamedTuple


class Shared(NamedTuple):
    """What a worker was given.

    Attributes:
        worker: its number, from 1.
        slots_file: the descriptor of a file; see `connections`.
        page_sockets: descriptors of the sockets of all workers, in the order of their numbers; see `sibling_pages`.
    """

    worker: int
    slots_file: int
    page_sockets: Sequence[int]


def new_page_sockets(count: int) -> list[socket.socket]:
    """Return a socket for each worker, which listens at a name that is no file (unix(7), autobind)."""
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(count)]
    for each in sockets:
        each.bind("")
        each.listen()
    return sockets
