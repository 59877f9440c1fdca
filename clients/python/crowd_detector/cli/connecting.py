"""Opens the client that a command works with, and says when its connection comes and goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crowd_detector import DetectorClient, DetectorError, Tls
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


def says_lost(say: Callable[[str], None]) -> Callable[[DetectorError, float], None]:
    """Return what tells of lost connections: once for each, however often it is tried again."""
    told: list[str] = []

    def on_reconnect(error: DetectorError, _delay: float) -> None:
        if told[-1:] != [str(error)]:
            told.append(str(error))
            say(f"{error}; trying again for up to a minute")

    return on_reconnect
