"""Bearer tokens: who may call."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb

from detector_service.errors import ConfigurationError
from detector_service.rpc.status import CallRefused

#: Probes carry no tokens, and health tells nothing but whether the service serves.
_OPEN_METHODS: Final = "/grpc.health.v1.Health/"


class Tokens:
    """The tokens that are accepted; compared in constant time, kept as digests only."""

    def __init__(self, tokens: list[str]) -> None:
        self._digests: Final = [_digest(token.encode()) for token in tokens]

    @classmethod
    def read(cls, path: Path) -> "Tokens":
        """Read a file with a token on each line; empty lines and those that begin with # are passed over.

        Raises:
            ConfigurationError: there is no token in it, or it is no text.
        """
        try:
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"AUTH_TOKENS_FILE={path}: cannot be read as text: {error}"
            ) from error
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise ConfigurationError(
                f"AUTH_TOKENS_FILE={path}: there is no token in it; write one on each line, or unset it"
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
    """Ends calls without a good token with UNAUTHENTICATED before they begin."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens: Final = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let a call through, or put a refusal in its place."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN_METHODS):
            return handler
        refusal = self._refusal(dict(handler_call_details.invocation_metadata or ()))
        return handler if refusal is None else _refusing(handler, refusal)

    def _refusal(self, metadata: dict[str, str | bytes]) -> CallRefused | None:
        value = metadata.get("authorization")
        if value is None:
            return _unauthenticated(
                "a token is needed; send the metadata `authorization: Bearer TOKEN`"
            )
        raw = value if isinstance(value, bytes) else value.encode()
        scheme, _, token = raw.partition(b" ")
        if scheme.lower() != b"bearer" or not self._tokens.accept(token.strip()):
            return _unauthenticated("the token is not known to this service")
        return None


def _unauthenticated(message: str) -> CallRefused:
    return CallRefused(grpc.StatusCode.UNAUTHENTICATED, pb.ERROR_REASON_UNAUTHENTICATED, message)


def _refusing(handler: Any, refusal: CallRefused) -> Any:
    """Return a handler of the same kind, which is what grpc demands, that only refuses."""

    async def refuse(_request: Any, context: Any) -> None:
        await refusal.end(context)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(refuse)  # without a deserializer: what is not let in is not parsed
