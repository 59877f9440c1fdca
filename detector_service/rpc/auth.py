"""Bearer tokens: who may call."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.errors import ConfigurationError
from detector_service.rpc.status import CallRefused
from detector_service.stats import Stats

#: Probes carry no tokens, and health tells nothing but whether the service serves.
_OPEN_METHODS: Final = "/grpc.health.v1.Health/"
_ADMIN_METHODS: Final = "/crowd.detector.v1.AdminService/"


class Tokens:
    """The tokens that are accepted; compared in constant time, kept as digests only."""

    def __init__(self, tokens: list[str]) -> None:
        self._digests: Final = [_digest(token.encode()) for token in tokens]

    @classmethod
    def read(cls, variable: str, path: Path) -> "Tokens":
        """Read a file that a variable names: a token on each line; empty lines and those that begin with # are passed over.

        Raises:
            ConfigurationError: there is no token in it, or it is no text.
        """
        try:
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{variable}={path}: cannot be read as text: {error}"
            ) from error
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise ConfigurationError(
                f"{variable}={path}: there is no token in it; write one on each line, or unset it"
            )
        return cls(tokens)

    def accept(self, token: bytes) -> bool:
        """Return whether a token is among them; how long that takes does not depend on the token."""
        digest = _digest(token)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls without a good token before they begin: UNAUTHENTICATED, or PERMISSION_DENIED."""

    def __init__(self, users: Tokens | None, admins: Tokens | None, stats: Stats) -> None:
        """Make it.

        Args:
            users: who may call; None for anyone.
            admins: who may call, the calls for whoever runs the service too; None for nobody.
            stats: where refusals are counted.
        """
        self._stats: Final = stats
        self._users: Final = users
        self._admins: Final = admins

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let a call through, or put a refusal in its place."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN_METHODS):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        refusal = self._refusal(metadata, for_admins=method.startswith(_ADMIN_METHODS))
        if refusal is None:
            return handler
        self._stats.refusals[refusal.reason] += 1
        return _refusing(handler, refusal, method)

    def _refusal(self, metadata: dict[str, str | bytes], *, for_admins: bool) -> CallRefused | None:
        if self._users is None and not for_admins:
            return None
        if self._users is None and self._admins is None:
            return _denied("this call needs a token of ADMIN_TOKENS_FILE, which is not set")
        token = _token(metadata)
        if isinstance(token, CallRefused):
            return token
        # Both are looked at, so that how long it takes says nothing.
        is_admin = self._admins is not None and self._admins.accept(token)
        is_user = self._users is not None and self._users.accept(token)
        if not (is_admin or is_user):
            return _unauthenticated("the token is not known to this service")
        if for_admins and not is_admin:
            return _denied(
                "this call needs a token of ADMIN_TOKENS_FILE; the one that was sent is not"
            )
        return None


def _token(metadata: dict[str, str | bytes]) -> bytes | CallRefused:
    value = metadata.get("authorization")
    if value is None:
        return _unauthenticated(
            "a token is needed; send the metadata `authorization: Bearer TOKEN`"
        )
    raw = value if isinstance(value, bytes) else value.encode()
    scheme, _, token = raw.partition(b" ")
    if scheme.lower() != b"bearer":
        return _unauthenticated("the token is not known to this service")
    return token.strip()


def _denied(message: str) -> CallRefused:
    return CallRefused(
        grpc.StatusCode.PERMISSION_DENIED, pb.ERROR_REASON_PERMISSION_DENIED, message
    )


def _unauthenticated(message: str) -> CallRefused:
    return CallRefused(grpc.StatusCode.UNAUTHENTICATED, pb.ERROR_REASON_UNAUTHENTICATED, message)


def _refusing(handler: Any, refusal: CallRefused, method: str) -> Any:
    """Return a handler of the same kind, which is what grpc demands, that only refuses."""

    async def refuse(_request: Any, context: Any) -> None:
        structlog.contextvars.bind_contextvars(call=method.rpartition("/")[2])
        await refusal.end(context)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(refuse)  # without a deserializer: what is not let in is not parsed
