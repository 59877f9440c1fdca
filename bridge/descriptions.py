"""What the bridge speaks, for programs: OpenAPI for its HTTP side, AsyncAPI for its events.

The shapes are taken from the types that the code itself uses, so they cannot differ from it; a test compares
the rest (paths, events, subprotocols) with the code.
"""

from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from bridge import events, http, http_answers, protocols

OPENAPI_PATH: Final = "/openapi.json"
ASYNCAPI_PATH: Final = "/asyncapi.json"

_REF: Final = "#/components/schemas/{name}"
_LICENSE: Final = {"name": "AGPL-3.0-only", "url": "https://www.gnu.org/licenses/agpl-3.0.html"}

#: Of each path: what it is for, and the answers it gives, by status.
_PATHS: Final[Mapping[str, tuple[str, Mapping[int, type]]]] = {
    "/health": (
        "Whether a detector serves.",
        {200: http_answers.HealthAnswer, 503: http_answers.HealthAnswer},
    ),
    "/api/models/info": (
        "The models that serve.",
        {
            200: http_answers.ModelsAnswer,
            401: http_answers.ProblemAnswer,
            503: http_answers.ProblemAnswer,
        },
    ),
    "/api/stats": (
        "What is open, and what was done.",
        {
            200: http_answers.StatsAnswer,
            401: http_answers.ProblemAnswer,
            503: http_answers.ProblemAnswer,
        },
    ),
}
_DOCUMENTS: Final = {
    OPENAPI_PATH: "This description.",
    ASYNCAPI_PATH: "The events of /ws, as AsyncAPI.",
}
_MEANINGS: Final = {200: "OK", 401: "A token is needed", 503: "No detector serves"}


def openapi() -> dict[str, Any]:
    """Return the description of the HTTP side, as OpenAPI 3.1."""
    types = {shape for _, answers in _PATHS.values() for shape in answers.values()}
    schemas, components = msgspec.json.schema_components(
        sorted(types, key=lambda each: each.__name__), ref_template=_REF
    )
    del schemas
    paths: dict[str, Any] = {}
    for path, (summary, answers) in _PATHS.items():
        secured = HTTPStatus.UNAUTHORIZED in answers
        paths[path] = {
            "get": {
                "operationId": _operation(path),
                "summary": summary,
                "security": [{"bearer": []}, {}] if secured else [],
                "responses": {
                    str(status): {
                        "description": _MEANINGS[status],
                        "content": {
                            "application/json": {
                                "schema": {"$ref": _REF.format(name=shape.__name__)}
                            }
                        },
                    }
                    for status, shape in answers.items()
                },
            }
        }
    for path, summary in _DOCUMENTS.items():
        paths[path] = {
            "get": {
                "operationId": _operation(path),
                "summary": summary,
                "security": [],
                "responses": {
                    "200": {"description": "OK", "content": {"application/json": {"schema": {}}}}
                },
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crowd Detector: HTTP",
            "version": _version(),
            "description": "HEAD and OPTIONS are answered on every path, too. Events are described in "
            f"{ASYNCAPI_PATH}.",
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
    words = [word for word in path.replace(".", "/").replace("-", "/").split("/") if word]
    return "get" + "".join(word.capitalize() for word in words)


def _version() -> str:
    try:
        return version("crowd-detector")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
