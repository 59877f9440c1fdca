"""Who may come in: tokens and origins; no I/O but the reading of the tokens' file."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bridge.errors import ConfigurationError

#: A subprotocol of this form brings a token, in base64url without padding; browsers cannot set headers.
BEARER_SUBPROTOCOL: Final = "bearer."

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_PORTS: Final = {"http": 80, "https": 443}
#: What proxies say of the scheme; some tell WebSockets from other requests.
_FORWARDED: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def read_tokens(path: Path, variable: str) -> list[str]:
    """Return the tokens of a file: one on each line; empty lines and those that begin with # are passed over.

    Args:
        path: the file.
        variable: that names it, for errors.

    Raises:
        ConfigurationError: there is no token in it, or it is no text.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{variable}={path}: cannot be read as text: {error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigurationError(
            f"{variable}={path}: there is no token in it; write one on each line, or unset it"
        )
    return tokens


class Tokens:
    """The tokens that are accepted; compared in constant time, kept as digests only."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests: Final = [_digest(token) for token in tokens]

    def accept(self, token: str) -> bool:
        """Return whether a token is among them; how long that takes does not depend on the token."""
        digest = _digest(token)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def token_of_handshake(authorization: str | None, subprotocols: Sequence[str]) -> str | None:
    """Return the token that a handshake brings; None where it brings none, "" where it cannot be read.

    Args:
        authorization: the header `Authorization`, if any.
        subprotocols: as offered.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for offered in subprotocols:
        if offered.startswith(BEARER_SUBPROTOCOL):
            return _decoded(offered.removeprefix(BEARER_SUBPROTOCOL))
    return None if authorization is None else ""


def scheme_of_request(forwarded: str | None, *, tls: bool) -> str | None:
    """Return by which scheme a browser's request came, `http` or `https`; None where only a proxy could know.

    Without TLS and without a word of a proxy it may be either: proxies end TLS, and not all of them say so.

    Args:
        forwarded: the header `X-Forwarded-Proto`. Pages cannot set it, and what is no page may connect anyway.
        tls: whether the bridge itself speaks TLS.
    """
    first = (forwarded or "").partition(",")[0].strip().lower()
    return _FORWARDED.get(first, "https" if tls else None)


def origin_allowed(
    origin: str | None, host: str | None, allowed: Sequence[str], scheme: str | None = None
) -> bool:
    """Return whether a page of this origin may talk to the bridge.

    Args:
        origin: the header `Origin`; None for clients that are no browsers, which may.
        host: the header `Host`.
        allowed: origins as the operator set them, `*` for any; none means same origin and localhost.
        scheme: of the request; None for either.
    """
    if origin is None:
        return True
    if allowed:
        return "*" in allowed or origin.lower() in (each.lower().rstrip("/") for each in allowed)
    try:
        parts = urlsplit(origin)
        name, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
        wanted = urlsplit(f"//{host}")
        # A proxy that ends TLS leaves Host without a port: then it is the scheme's own.
        same = (
            name == wanted.hostname
            and port == (wanted.port or _PORTS.get(parts.scheme))
            and parts.scheme == (scheme or parts.scheme)
        )
    except ValueError:
        return False
    return name is not None and parts.scheme in _PORTS and (same or name in _LOCAL)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(
            text + "=" * (-len(text) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, ValueError):
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
