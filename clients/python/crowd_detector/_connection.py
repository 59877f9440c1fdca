"""Where the service is, and how it is reached."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc

__all__ = ["Tls"]

_Path: TypeAlias = str | os.PathLike[str]

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A service that vanished without a word is found by pings that it does not answer; it permits one
    # in 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own back-off grows to two minutes, in which a service that is back is not noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in truth, the time one attempt may take
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS with the service.

    Attributes:
        ca_file: the authority (PEM) that the service's certificate is from; None: those that gRPC trusts.
        cert_file: this client's certificate (PEM), where the service asks for one (mTLS).
        key_file: its key (PEM).
        server_name: the name in the service's certificate, where it is not that of the address.

    Example:
        >>> Tls(ca_file="ca.pem").cert_file is None
        True
    """

    ca_file: _Path | None = None
    cert_file: _Path | None = None
    key_file: _Path | None = None
    server_name: str = ""


class Target:
    """A service's address, and what is needed to connect to it."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        """Check the address, and read the files.

        Raises:
            OSError: a file cannot be read.
            ValueError: the address or a file is not what it should be.
        """
        host, colon, port = address.rpartition(":")
        if not host or not colon or not port.isdecimal() or "/" in host:
            raise ValueError(f"{address!r} is no address: give host:port, as in localhost:50051")
        self._address: Final = address
        self._credentials: Final = None if tls is None else _credentials(tls)
        self._options: Final = (
            (*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
            if tls is not None and tls.server_name
            else _OPTIONS
        )

    def open(self) -> grpc.aio.Channel:
        """Return a channel of the running event loop; nothing is connected before its first call."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, self._options)
        return grpc.aio.secure_channel(self._address, self._credentials, self._options)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    if (tls.cert_file is None) != (tls.key_file is None):
        raise ValueError(
            "a client's certificate and its key go together: give both files, or neither"
        )
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca_file, "CERTIFICATE"),
        private_key=_pem(tls.key_file, "KEY"),
        certificate_chain=_pem(tls.cert_file, "CERTIFICATE"),
    )


def _pem(path: _Path | None, label: str) -> bytes | None:
    if path is None:
        return None
    content = Path(path).read_bytes()
    if b"-----BEGIN " not in content or f"{label}-----".encode() not in content:
        raise ValueError(f"{os.fspath(path)} holds no {label.lower()} in PEM form")
    return content
