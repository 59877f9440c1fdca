"""What lies in deploy/, as tests look at it."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from bridge.errors import ErrorCode
from bridge.settings import Settings as BridgeSettings
from bridge.stats import ORIGIN_NOT_ALLOWED, TCP_CONNECTIONS
from detector_service.settings import Settings
from telemetry.settings import OtelSettings
from tests import log_lines
from tests.servers import ROOT
from tests.test_docs import table

DEPLOY = ROOT / "deploy"
RULES_FILE = DEPLOY / "prometheus" / "rules.yml"

#: All alerting rules, in order.
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]

#: The dashboards, by the names of their files.
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana").glob("*.json"))
}

_CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_SPEAKERS = "|".join({event.partition(".")[0] for event in log_lines.EVENTS})
_EVENT = re.compile(rf"\b(?:{_SPEAKERS})\.(?!md\b)[a-z_]+\b")
_KNOWN = {
    *(
        name.upper()
        for settings in (Settings, BridgeSettings, OtelSettings)
        for name in settings.model_fields
    ),
    *(row[0] for row in table("errors.md")),
    *map(str, ErrorCode),
    TCP_CONNECTIONS,
    ORIGIN_NOT_ALLOWED,
}


class Expression(NamedTuple):
    """A query of Prometheus.

    Attributes:
        where: it is written.
        text: with Grafana's variables.
        shown: names of labels, whose values are shown with its result.
    """

    where: str
    text: str
    shown: frozenset[str]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a dashboard's panels, but for the titles of its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _of_rules() -> Iterator[Expression]:
    for rule in RULES:
        shown = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
        yield Expression(rule["alert"], rule["expr"], frozenset(shown))


def _of_panels() -> Iterator[Expression]:
    for name, board in DASHBOARDS.items():
        for panel in panels(board):
            if panel.get("datasource", {}).get("type") == "prometheus":
                for target in panel["targets"]:
                    shown = re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))
                    where = f"{name}: {panel['title']}"
                    yield Expression(where, target["expr"], frozenset(shown))


#: What the rules ask Prometheus for, and the dashboards.
OF_RULES = list(_of_rules())
OF_PANELS = list(_of_panels())


def filled_in(text: str, **variables: str) -> str:
    """Return a query with values for Grafana's variables."""
    for name, value in (variables | {"__rate_interval": "1m"}).items():
        text = text.replace(f"${name}", value)
    return text


def made_up(text: str) -> set[str]:
    """Return the settings, reasons, codes and events that a text names and that do not exist."""
    named = {*_CAPITALS.findall(text), *_EVENT.findall(text)}
    return named - _KNOWN - log_lines.EVENTS.keys()
