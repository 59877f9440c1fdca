"""Opens the client that a command works with, and says when its connection comes and goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from crowd_detector import DetectorClient, DetectorError, Stream, Tls
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.options import Connection


@contextmanager
def client_of(connection: Connection) -> Iterator[DetectorClient]:
    """Open a client.

    Raises:
        Failure: the address or the TLS files are not what they should be.
    """
    tls = Tls(
        ca_file=connection.tls_ca,
        cert_file=connection.tls_cert,
        key_file=connection.tls_key,
        server_name=connection.tls_server_name,
    )
    try:
        client = DetectorClient(
            connection.server, token=connection.token, tls=tls if connection.tls else None
        )
    except OSError as error:
        raise Failure(of_file(error), ExitCode.USAGE) from error
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    with client:
        yield client


class Outages:
    """Tells of lost connections: once until it is made again, however often that is tried."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Final = say
        self._told: int | None = None  # how often it had been made again when it was told last
        self.stream: Stream | None = None  # that the connection is for

    def tell(self, error: DetectorError, _delay: float) -> None:
        """Take one more connection that was lost, or could not be made."""
        made = 0 if self.stream is None else self.stream.summary.reconnections
        if made != self._told:
            self._told = made
            self._say(f"trying again for up to a minute: {error}")
