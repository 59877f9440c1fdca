"""The name in a certificate."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.errors import ConfigurationError


def name_in(certificate: Path, key: Path) -> str:
    """Return a name that a certificate is for; an address, where it has no name.

    Raises:
        ConfigurationError: nobody can trust it: it is not valid now, or names nothing.
        OSError: a file cannot be read, or the two are no certificate with its key.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key, password="")  # or it would ask for one
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is trusted itself, as with gRPC
    try:
        shown = _shown(server, client)
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"TLS_CERT_FILE={certificate}: the bridge cannot trust it ({error.verify_message}); renew it"
        ) from error
    names = dict(reversed(shown.get("subjectAltName", ())))  # the first of each kind
    name = names.get("DNS") or names.get("IP Address")
    if name is None:
        raise ConfigurationError(
            f"TLS_CERT_FILE={certificate}: it names no host (subjectAltName), so the bridge cannot verify it; have "
            "one issued that does"
        )
    return str(name).replace("*", "any")


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Return what a client reads in the certificate that a server shows it, in memory.

    The standard library has no other way to read a certificate that is no authority's.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    while True:
        try:
            asking.do_handshake()
            return asking.getpeercert() or {}
        except ssl.SSLWantReadError:
            with suppress(ssl.SSLWantReadError):
                answering.do_handshake()
