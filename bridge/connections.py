"""How many connections are open, over all worker processes, and from where.

Each open connection holds a slot: a byte of a file, locked by its process (POSIX record locks). When a process ends, in
whatever way, the kernel gives its locks back. Behind the lock bytes the file holds, for each slot, a digest of
the address that has it.
"""

import fcntl
import hashlib
import os
import struct
import tempfile
from contextlib import suppress
from typing import Final

#: struct flock of Linux on 64 bits: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK: Final = struct.Struct("hhxxxxqqixxxx")
_DIGEST_BYTES: Final = 8


def new_slots_file() -> int:
    """Return the descriptor of a file for slots; it has no name, so it leaves nothing behind."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Slots:
    """The slots of all processes, seen from one of them."""

    def __init__(self, descriptor: int, count: int, *, per_address: int = 0) -> None:
        """Make it.

        Args:
            descriptor: of a file that all processes share; no other part may open and close that
                file, for closing it gives up the locks of the whole process.
            count: slots over all processes.
            per_address: slots that one address may hold; 0: any number.
        """
        self._file: Final = descriptor
        self._count: Final = count
        self._per_address: Final = per_address
        self._mine: Final[set[int]] = set()

    def take(self, address: str) -> int | None:
        """Return a slot's number; None where all are taken.

        Args:
            address: of the client.
        """
        for slot in range(self._count):
            if slot in self._mine:
                continue
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError:
                continue
            self._mine.add(slot)
            os.pwrite(self._file, _digest(address), self._record(slot))
            return slot
        return None

    def give_back(self, slot: int) -> None:
        """Give a slot back."""
        self._mine.remove(slot)
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)

    def address_is_full(self, address: str) -> bool:
        """Return whether an address holds as many slots as one may."""
        if not self._per_address:
            return False
        records = os.pread(self._file, self._count * _DIGEST_BYTES, self._record(0))
        digest = _digest(address)
        held = sum(
            records[at : at + _DIGEST_BYTES] == digest and self._is_taken(at // _DIGEST_BYTES)
            for at in range(0, len(records), _DIGEST_BYTES)
        )
        return held >= self._per_address

    def taken(self) -> int:
        """Return how many slots are taken, over all processes."""
        others, ranges = 0, [(0, self._count)]
        while ranges:
            start, end = ranges.pop()
            lock = self._lock_of_others(start, end) if start < end else None
            if lock is not None:
                # The kernel names one lock of the range, not the first of it.
                others += lock[1] - lock[0]
                ranges += [(start, lock[0]), (lock[1], end)]
        return len(self._mine) + others

    def _is_taken(self, slot: int) -> bool:
        return slot in self._mine or self._lock_of_others(slot, slot + 1) is not None

    def _lock_of_others(self, start: int, end: int) -> tuple[int, int] | None:
        """Return from where to where, within a range, another process holds slots; None where none does."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
        kind, _, begins, spans, _ = _FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return None
        return max(begins, start), min(begins + spans, end)

    def _record(self, slot: int) -> int:
        return self._count + slot * _DIGEST_BYTES


def _digest(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=_DIGEST_BYTES).digest()
