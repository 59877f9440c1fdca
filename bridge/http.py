"""The HTTP side of the port: what each path answers, and the headers that every answer carries.

`websockets` parses the requests; they have no body, and each connection carries one. Nothing here changes
state, so GET, HEAD and OPTIONS are all there is.
"""

import email.utils
import hashlib
import http
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from bridge import access
from bridge.detectors import Detectors, NoDetectorError
from bridge.errors import ErrorCode
from bridge.http_answers import (
    DetectorsAnswer,
    HealthAnswer,
    LifeAnswer,
    ModelAnswer,
    ModelsAnswer,
    Problem,
    ProblemAnswer,
    StatsAnswer,
)
from bridge.translation import seconds
from telemetry.metrics import PROMETHEUS_TEXT

ALLOWED_METHODS: Final = ("GET", "HEAD", "OPTIONS")
WEBSOCKET_PATH: Final = "/ws"
METRICS_PATH: Final = "/metrics"

_NO_STORE: Final = "no-store"
_REVALIDATE: Final = "no-cache"
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
#: Headers that make no sense as a list (RFC 9110, section 5.3): which of two counts, nobody could say.
_SINGLE: Final = ("Origin", "Host", "Authorization")
_HSTS: Final = "max-age=31536000"
_NO_REQUEST: Final = Request("/", Headers())  # in place of one that could not be read
_LONGEST_CAUSE: Final = 200  # characters; it may repeat what was sent
#: What comes before the path where a request was meant for a proxy (RFC 9112, section 3.2.2).
_AUTHORITY: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers, before headers.

    Attributes:
        status: of HTTP.
        body: to be JSON; or bytes as they are.
        cache: the header Cache-Control; with anything but no-store the answer has an ETag.
        media_type: of bytes.
        headers: more of them.
    """

    status: int
    body: Any
    cache: str = _NO_STORE
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Endpoint: TypeAlias = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path.

    Attributes:
        endpoint: makes its answer.
        open: whether it is answered without a token, too.
    """

    endpoint: Endpoint
    open: bool = False


class HttpSide:
    """Answers what is no WebSocket handshake."""

    def __init__(
        self,
        detectors: Detectors,
        connections: Callable[[], int],
        metrics: Callable[[], Awaitable[bytes]],
        descriptions: Mapping[str, Any],
        *,
        origins: list[str],
        tokens: access.Tokens | None,
        tls: bool,
    ) -> None:
        """Make it.

        Args:
            detectors: to be asked.
            connections: says how many are open.
            metrics: gives the Prometheus page.
            descriptions: machine-readable ones, by path.
            origins: that may read the answers; see `access.origin_allowed`.
            tokens: that are asked for; None for none.
            tls: whether the port speaks TLS.
        """
        self._detectors: Final = detectors
        self._connections: Final = connections
        self._page: Final = metrics
        self._origins: Final = origins
        self._tokens: Final = tokens
        self._tls: Final = tls
        self.routes: Final[dict[str, Route]] = {
            WEBSOCKET_PATH: Route(self._websocket, open=True),
            "/health": Route(self._health, open=True),
            "/health/live": Route(_live, open=True),
            "/health/ready": Route(self._health, open=True),
            "/api/models/info": Route(self._models),
            "/api/stats": Route(self._stats),
            METRICS_PATH: Route(self._metrics),
        } | {path: Route(_constant(body), open=True) for path, body in descriptions.items()}

    async def respond(self, request: Request) -> Response | None:
        """Return the answer to a request; None where it is a WebSocket handshake that may go on."""
        path = path_of(request.path)
        fault = _fault(request)
        if fault:
            return self._response(request, problem(400, "BAD_REQUEST", fault))
        if path == WEBSOCKET_PATH and request.method == "GET":
            if not self._origin_allowed(request):
                return self._response(
                    request,
                    problem(
                        403,
                        "ORIGIN_NOT_ALLOWED",
                        f"pages of {header(request, 'Origin')} may not connect; add that to "
                        "ALLOWED_ORIGINS",
                    ),
                )
            if (header(request, "Upgrade") or "").lower() == "websocket":
                return None
        return self._response(request, await self._answer(path, request))

    def refused(self, status: StatusLike, text: str) -> Response:
        """Return the answer to a handshake that the WebSocket library refuses.

        Args:
            status: of HTTP.
            text: why; its first line is told.
        """
        known = http.HTTPStatus(status)
        message = text.partition("\n")[0] or known.phrase
        return self._response(_NO_REQUEST, problem(known, known.name, message))

    def unreadable(self, began: bytes, cause: BaseException | None) -> Response:
        """Return the answer to a request that cannot be read; requests with a body are not read, either.

        Args:
            began: its first bytes.
            cause: why it cannot be read.
        """
        method = began.partition(b" ")[0].decode(errors="replace")
        if method in http.HTTPMethod.__members__ and method not in ALLOWED_METHODS:
            answer = method_not_allowed(method)
        elif isinstance(cause, NotImplementedError):
            answer = problem(501, "NOT_IMPLEMENTED", f"{cause}; send no body")
        else:
            why = str(cause)[:_LONGEST_CAUSE]
            answer = problem(
                400, "BAD_REQUEST", f"the request cannot be read ({why}); send GET, without a body"
            )
        return self._response(_NO_REQUEST, answer)

    async def _answer(self, path: str, request: Request) -> Answer:
        if request.method not in ALLOWED_METHODS:
            return method_not_allowed(request.method)
        route = self.routes.get(path)
        if request.method == "OPTIONS" and (route is not None or path == "*"):
            return Answer(204, None, headers={"Allow": ", ".join(ALLOWED_METHODS)})
        if route is None:
            return problem(
                404, "NOT_FOUND", f"there is nothing at {path}; /openapi.json lists what is"
            )
        if self._tokens is not None and not route.open and not self._has_token(request):
            return problem(
                401,
                ErrorCode.UNAUTHORIZED,
                "a token is needed; send the header `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            return await route.endpoint()
        except NoDetectorError as error:
            return problem(503, ErrorCode.DETECTOR_UNAVAILABLE, str(error), {"Retry-After": "1"})

    async def _health(self) -> Answer:
        links = self._detectors.links
        serving = sum(link.serving for link in links)
        return Answer(
            200 if serving else 503,
            HealthAnswer(
                "healthy" if serving else "unhealthy", _now(), DetectorsAnswer(serving, len(links))
            ),
        )

    async def _models(self) -> Answer:
        info = await self._detectors.model_info()
        face, body = (
            ModelAnswer(
                loaded=model.loaded,
                path=model.path,
                device=model.device,
                format=model.format,
                engine=model.engine,
                precision=model.precision,
                embedded=model.embedded,
            )
            for model in (info.face_model, info.body_model)
        )
        return Answer(200, ModelsAnswer(face, body), cache=_REVALIDATE)

    async def _stats(self) -> Answer:
        stats = await self._detectors.stats()
        frames = sum(each.total_frames_processed for each in stats)
        took = sum(
            seconds(each.average_processing_time) * each.total_frames_processed for each in stats
        )
        return Answer(
            200,
            StatsAnswer(
                active_connections=self._connections(),
                total_frames_processed=frames,
                average_processing_time=round(took / max(frames, 1), 6),
                uptime=round(max(seconds(each.uptime) for each in stats), 3),
            ),
        )

    async def _metrics(self) -> Answer:
        return Answer(200, await self._page(), media_type=PROMETHEUS_TEXT)

    async def _websocket(self) -> Answer:
        return problem(
            426,
            "UPGRADE_REQUIRED",
            "this path speaks WebSocket; connect to it with a WebSocket client",
            headers={"Upgrade": "websocket"},
        )

    def _has_token(self, request: Request) -> bool:
        token = access.token_of_handshake(header(request, "Authorization"), ())
        return token is not None and self._tokens is not None and self._tokens.accept(token)

    def _origin_allowed(self, request: Request) -> bool:
        return access.origin_allowed(
            header(request, "Origin"),
            header(request, "Host"),
            self._origins,
            access.scheme_of_request(header(request, "X-Forwarded-Proto"), tls=self._tls),
        )

    def _response(self, request: Request, answer: Answer) -> Response:
        body = _bytes(answer.body)
        headers = Headers(
            {
                "Date": email.utils.formatdate(usegmt=True),
                "Connection": "close",
                "Cache-Control": answer.cache,
                "Vary": "Origin",
            }
            | SECURITY_HEADERS
            | dict(answer.headers)
        )
        if self._tls:
            headers["Strict-Transport-Security"] = _HSTS
        self._permit(request, headers)
        status = http.HTTPStatus(answer.status)
        if answer.cache != _NO_STORE:
            headers["ETag"] = tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            if tag in (header(request, "If-None-Match") or ""):
                return Response(304, http.HTTPStatus.NOT_MODIFIED.phrase, headers, b"")
        if answer.body is not None:
            headers["Content-Type"] = answer.media_type
            headers["Content-Length"] = str(len(body))
        return Response(
            status.value, status.phrase, headers, b"" if request.method == "HEAD" else body
        )

    def _permit(self, request: Request, headers: Headers) -> None:
        """Let pages of allowed origins read the answer (CORS)."""
        origin = header(request, "Origin")
        if origin is None or not self._origin_allowed(request):
            return
        headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = ", ".join(ALLOWED_METHODS)
            headers["Access-Control-Allow-Headers"] = "Authorization"
            headers["Access-Control-Max-Age"] = "600"


def path_of(target: str) -> str:
    """Return the path that a request's target names, without the query; `*` is the whole server."""
    authority = _AUTHORITY.match(target)
    return target[authority.end() if authority else 0 :].partition("?")[0] or "/"


def _fault(request: Request) -> str:
    """Return what is wrong with a request's headers, whatever it asks for; empty where nothing is."""
    for name in _SINGLE:
        if len(request.headers.get_all(name)) > 1:
            return f"the header {name} came more than once; send one"
    if request.protocol != "HTTP/1.0" and "Host" not in request.headers:
        return "the header Host is missing; HTTP/1.1 asks for it"
    return ""


def header(request: Request, name: str) -> str | None:
    """Return a header's value, of several ones their list; None where there is none."""
    values = request.headers.get_all(name)
    return ", ".join(values) if values else None


def _bytes(body: Any) -> bytes:
    match body:
        case None:
            return b""
        case bytes():
            return body
        case _:
            return msgspec.json.encode(body)


def problem(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an answer that says what is wrong."""
    return Answer(status, ProblemAnswer(Problem(str(code), message)), headers=headers or {})


def method_not_allowed(method: str) -> Answer:
    """Return the answer to a method that is none of `ALLOWED_METHODS`."""
    allow = ", ".join(ALLOWED_METHODS)
    return problem(
        405,
        "METHOD_NOT_ALLOWED",
        f"{method} is not answered here; {allow} are",
        headers={"Allow": allow},
    )


async def _live() -> Answer:
    return Answer(200, LifeAnswer("alive", _now()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _constant(body: Any) -> Endpoint:
    async def endpoint() -> Answer:
        return Answer(200, body, cache="public, max-age=300")

    return endpoint
