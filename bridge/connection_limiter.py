"""How many TCP connections a process has, from their first packet to their end, and from where; no I/O."""

from collections import Counter
from typing import Final


class ConnectionLimiter:
    """Counts open connections, and says which is one too many."""

    def __init__(self, most: int, most_per_client: int) -> None:
        """Make it.

        Args:
            most: connections at the same time.
            most_per_client: likewise, of one client; 0: any number.
        """
        self._most: Final = most
        self._most_per_client: Final = most_per_client
        self._by_client: Final[Counter[str]] = Counter()
        self._count = 0

    @property
    def count(self) -> int:
        """Connections that are open."""
        return self._count

    def enter(self, client: str) -> bool:
        """Count a connection; return whether it may stay. If not, it is not counted, and does not leave.

        Args:
            client: whose it is; see `clients.client_of`.
        """
        if self._count >= self._most:
            return False
        if self._most_per_client and self._by_client[client] >= self._most_per_client:
            return False
        self._count += 1
        self._by_client[client] += 1
        return True

    def leave(self, client: str) -> None:
        """Count a connection that stayed no longer."""
        self._count -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
