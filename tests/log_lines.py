"""What a line of the log may be: a JSON schema, made of the tables in docs/operations.md."""

import json
import re
from collections.abc import Iterable
from typing import Any

import jsonschema

from tests.servers import ROOT

_PAGE = (ROOT / "docs" / "operations.md").read_text()
_COMMON = ["timestamp", "level", "event"]
#: What an event may have besides its own fields.
_OF_ALL = [*_COMMON, "stream", "camera", "call", "trace_id", "span_id", "repeated", "error", "at"]
_PATTERNS = {
    "timestamp": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
    "level": "^(debug|info|warning|error|critical)$",
    "message": ".{10}",
    "stream": "^[0-9a-f]{8}$",
    "trace_id": "^[0-9a-f]{32}$",
    "span_id": "^[0-9a-f]{16}$",
}


def _rows(heading: str) -> list[list[str]]:
    chapter = _PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in chapter.splitlines()
        if line.startswith("| `")
    ]


def _names(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


EVENTS = {_names(name)[0]: (level, _names(fields)) for name, level, fields, _ in _rows("Events")}
FIELDS: dict[str, dict[str, Any]] = {
    _names(name)[0]: {"type": [kind, "null"]} for name, kind, _ in _rows("Fields")
}
for _name, _pattern in _PATTERNS.items():
    FIELDS[_name] = {"type": "string", "pattern": _pattern}


def _schema(fields: Iterable[str], required: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: FIELDS[name] for name in fields},
        "required": list(required),
        "additionalProperties": False,
    }


def check(text: str) -> list[dict[str, Any]]:
    """Return a log's lines; each must be one that the page describes."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        if "logger" in line:  # a library's own words
            fields, required = [*_OF_ALL, "logger", "message", "exception"], [*_COMMON, "logger"]
        else:
            assert line.get("event") in EVENTS, line
            level, own = EVENTS[line["event"]]
            assert line["level"] == level, line
            urgent = ["message"] if level in ("warning", "error") else []
            fields, required = [*_OF_ALL, *own, *urgent, "exception"], [*_COMMON, *urgent]
        jsonschema.validate(line, _schema(fields, required))
    return lines
