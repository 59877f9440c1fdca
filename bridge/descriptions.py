"""What the bridge speaks, for programs: OpenAPI for its HTTP side, AsyncAPI for its events.

The shapes are taken from the types that the code itself uses, so they cannot differ from it; a test compares
the rest (paths, events, subprotocols) with the code.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeAlias

import msgspec

from bridge import events, http, http_answers, protocols

OPENAPI_PATH: Final = "/openapi.json"
ASYNCAPI_PATH: Final = "/asyncapi.json"

#: Every path that no other one describes.
ELSEWHERE: Final = "/{path}"

_REF: Final = "#/components/schemas/{name}"
_LICENSE: Final = {"name": "AGPL-3.0-only", "url": "https://www.gnu.org/licenses/agpl-3.0.html"}

#: Answers by status, with the shape of their JSON; `str` where it is text, None where there is no body.
_Answers: TypeAlias = dict[int, type | None]

#: To a request that cannot be read, or not be served, whatever its path.
_EVERYWHERE: Final[_Answers] = dict.fromkeys(
    (400, 405, 414, 431, 500, 501), http_answers.ProblemAnswer
)
_FIGURES: Final[_Answers] = dict.fromkeys((401, 503), http_answers.ProblemAnswer)
_DOCUMENT: Final[_Answers] = {200: dict, 304: None}

#: Of each path: what it is for, and the answers of its own.
_PATHS: Final[Mapping[str, tuple[str, _Answers]]] = {
    "/health": (
        "Whether a detector serves.",
        {200: http_answers.HealthAnswer, 503: http_answers.HealthAnswer},
    ),
    "/health/live": (
        "Whether the bridge itself answers.",
        {200: http_answers.LifeAnswer},
    ),
    "/health/ready": (
        "Whether a detector serves: the same as /health.",
        {200: http_answers.HealthAnswer, 503: http_answers.HealthAnswer},
    ),
    "/api/models/info": (
        "The models that serve.",
        {200: http_answers.ModelsAnswer, 304: None, **_FIGURES},
    ),
    "/api/stats": (
        "What is open, and what was done.",
        {200: http_answers.StatsAnswer, **_FIGURES},
    ),
    http.METRICS_PATH: (
        "The figures of the bridge, in Prometheus' text format.",
        {200: str, 401: http_answers.ProblemAnswer},
    ),
    OPENAPI_PATH: ("This description.", _DOCUMENT),
    ASYNCAPI_PATH: ("The events of /ws, as AsyncAPI.", _DOCUMENT),
    http.WEBSOCKET_PATH: (
        f"The WebSocket, whose events {ASYNCAPI_PATH} describes.",
        {101: None} | dict.fromkeys((403, 426, 503, 505), http_answers.ProblemAnswer),
    ),
    ELSEWHERE: ("Nothing: what is served is listed above.", {404: http_answers.ProblemAnswer}),
}
#: Where the phrase that HTTP has for a status does not say enough.
_MEANINGS: Final = {
    401: "A token is needed",
    403: "Pages of this origin may not connect",
    405: "The answer to methods other than GET, HEAD and OPTIONS",
    501: "The request has a body",
    503: "No detector serves, or the bridge goes down",
}


def openapi() -> dict[str, Any]:
    """Return the description of the HTTP side, as OpenAPI 3.1."""
    answers_by_path = {path: answers | _EVERYWHERE for path, (_, answers) in _PATHS.items()}
    shapes = {shape for answers in answers_by_path.values() for shape in answers.values()} - {None}
    types = sorted((shape for shape in shapes if shape), key=lambda each: each.__name__)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, schemas, strict=True))

    def response(status: int, shape: type | None) -> dict[str, Any]:
        described: dict[str, Any] = {
            "description": _MEANINGS.get(status, HTTPStatus(status).phrase)
        }
        if shape is not None:
            media_type = "text/plain" if shape is str else "application/json"
            described["content"] = {media_type: {"schema": schema_of[shape]}}
        return described

    paths: dict[str, Any] = {}
    for path, answers in answers_by_path.items():
        asks_for_token = HTTPStatus.UNAUTHORIZED in answers or path == http.WEBSOCKET_PATH
        paths[path] = {
            "get": {
                "operationId": _operation(path),
                "summary": _PATHS[path][0],
                "security": [{"bearer": []}, {}] if asks_for_token else [],
                "responses": {
                    str(status): response(status, answers[status]) for status in sorted(answers)
                },
            }
        }
    paths[ELSEWHERE]["parameters"] = [
        {"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crowd Detector: HTTP",
            "version": _version(),
            "description": "HEAD is answered like GET, without the body, and OPTIONS with 204, on every path "
            "but the last.",
            "license": _LICENSE,
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def asyncapi() -> dict[str, Any]:
    """Return the description of the events, as AsyncAPI 3.0."""
    types = [*events.Request.__args__, *events.Event.__args__]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    messages = {
        str(each.__struct_config__.tag): {
            "name": str(each.__struct_config__.tag),
            "summary": (each.__doc__ or "").partition("\n")[0],
            "contentType": "application/json",
            "payload": {"$ref": _REF.format(name=each.__name__)},
        }
        for each in types
    }

    def operation(action: str, names: list[str]) -> dict[str, Any]:
        return {
            "action": action,
            "channel": {"$ref": "#/channels/ws"},
            "messages": [{"$ref": f"#/channels/ws/messages/{name}"} for name in names],
        }

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crowd Detector: events",
            "version": _version(),
            "description": "The events of the JSON protocol. Subprotocols: "
            f"{', '.join(protocols.PROTOCOLS)}; none means {protocols.JSON}.",
            "license": _LICENSE,
        },
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": http.WEBSOCKET_PATH,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        # As AsyncAPI 3 has it: what this application, the bridge, receives and sends.
        "operations": {
            "fromClient": operation("receive", events.names(events.Request)),
            "toClient": operation("send", events.names(events.Event)),
        },
        "components": {"messages": messages, "schemas": components},
    }


def served() -> dict[str, Any]:
    """Return the descriptions by the paths where they are served."""
    return {OPENAPI_PATH: openapi(), ASYNCAPI_PATH: asyncapi()}


def _operation(path: str) -> str:
    words = re.findall(r"\w+", path)
    return "get" + "".join(word.capitalize() for word in words)


def _version() -> str:
    try:
        return version("crowd-detector")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
