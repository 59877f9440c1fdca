"""The dashboards: sound as files, and what they ask for exists. No Grafana has shown them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests import log_lines
from tests.deploy import files, promql
from tests.servers import ROOT

PROVISIONING = files.DEPLOY / "grafana" / "provisioning"
KINDS = {"prometheus", "loki", "tempo"}
BOARDS = pytest.mark.parametrize("board", files.DASHBOARDS.values(), ids=files.DASHBOARDS)


def datasources() -> list[dict[str, Any]]:
    """Return what is provisioned."""
    return [
        source
        for path in (PROVISIONING / "datasources").iterdir()
        for source in yaml.safe_load(path.read_text())["datasources"]
    ]


def test_each_dashboard_has_a_name_of_its_own() -> None:
    """By which the others, and the alerts, lead to it."""
    uids = [board["uid"] for board in files.DASHBOARDS.values()]
    assert uids == ["crowd-camera", "crowd-fleet", "crowd-replica"]


@BOARDS
def test_panels_are_sound(board: dict[str, Any]) -> None:
    """Each has an id, a place, a title, an explanation, and the data source of a variable that is there."""
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"
    assert max(x for x, _ in taken) < 24
    variables = {each["name"]: each for each in board["templating"]["list"]}
    for panel in files.panels(board):
        assert panel["title"]
        if panel["type"] == "text":
            continue
        assert panel["description"]
        kind, uid = panel["datasource"]["type"], panel["datasource"]["uid"]
        variable = variables[uid.removeprefix("${").removesuffix("}")]
        assert (variable["type"], variable["query"]) == ("datasource", kind)
        assert kind in KINDS
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


@BOARDS
def test_variables_and_links_lead_somewhere(board: dict[str, Any]) -> None:
    """Every $variable is one of the dashboard's or of Grafana's own; every path is that of a dashboard."""
    text = str(board)
    names = {each["name"] for each in board["templating"]["list"]}
    named = set(re.findall(r"\$\{?(\w+)", text))
    assert named - {"__rate_interval", "__range", "__value", "__url_time_range"} <= names
    uids = {each["uid"] for each in files.DASHBOARDS.values()}
    assert set(re.findall(r"/d/([\w-]+)", text)) <= uids


@BOARDS
def test_what_texts_name_exists(board: dict[str, Any]) -> None:
    """Settings, reasons, events and alerts."""
    texts = [board["description"]]
    for panel in files.panels(board):
        texts += [panel["title"], panel.get("description", "")]
        texts.append(panel.get("options", {}).get("content", ""))
    text = "\n".join(texts)
    assert not files.made_up(text)
    assert set(re.findall(r"\bCrowd[A-Z]\w+", text)) <= {rule["alert"] for rule in files.RULES}


@pytest.mark.parametrize("expression", files.OF_PANELS, ids=lambda each: each.where)
def test_a_panel_asks_for_what_is_exported(expression: files.Expression) -> None:
    """Every metric and label exists, and every label of its legend is in the result."""
    parsed = promql_parser.parse(
        files.filled_in(expression.text, instance="i", detector="d", bridge="b")
    )
    assert expression.shown <= promql.labels(parsed)


def test_every_metric_is_on_a_dashboard() -> None:
    """What is exported and shown nowhere would be exported for nothing."""
    shown = {
        selector.name
        for expression in files.OF_PANELS
        for selector in promql.selectors(promql_parser.parse(files.filled_in(expression.text)))
    }
    bare = {re.sub("_(sum|count|bucket)$", "", str(name)) for name in shown}
    exported = {re.sub("_(sum|count|bucket)$", "", name) for name in promql.METRICS}
    assert exported - bare == set()


def test_loki_is_asked_for_events_and_fields_that_are_written() -> None:
    """In its queries the names of labels are those of the log's fields; nothing here can run them."""
    queries = [
        target["expr"]
        for panel in files.panels(files.DASHBOARDS["camera.json"])
        if panel.get("datasource", {}).get("type") == "loki"
        for target in panel["targets"]
    ]
    assert queries
    for query in queries:
        selector, _, pipeline = query.partition("} | json")
        assert re.search(r"service_name=~?\"crowd-", selector)
        fields = set(re.findall(r"\b(\w+)=~?\"", pipeline))
        fields |= set(re.findall(r"{{\.(\w+)}}", pipeline))
        assert fields <= log_lines.FIELDS.keys() | {"event"}
        for events in re.findall(r"event=~?\"([^\"]+)\"", pipeline):
            assert set(events.split("|")) <= log_lines.EVENTS.keys()


def test_data_sources_are_those_that_dashboards_choose_among() -> None:
    """And they know each other by their names."""
    sources = datasources()
    assert {source["type"] for source in sources} == KINDS
    uids = {source["uid"] for source in sources}
    assert len(uids) == len(sources)
    loki, tempo = (
        next(each for each in sources if each["type"] == kind) for kind in ("loki", "tempo")
    )
    (derived,) = loki["jsonData"]["derivedFields"]
    assert derived["datasourceUid"] == tempo["uid"]
    assert tempo["jsonData"]["tracesToLogsV2"]["datasourceUid"] == loki["uid"]
    line = (
        '{"event": "frame.failed", "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7"}'
    )
    found = re.search(derived["matcherRegex"], line)
    assert found is not None
    assert found[1] == "0af7651916cd43dd8448eb211c80319c"


def test_dashboards_are_read_from_the_folder_that_the_page_names() -> None:
    """The README mounts them where Grafana looks."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "crowd.yaml").read_text())[
        "providers"
    ]
    readme = (files.DEPLOY / "README.md").read_text()
    assert f":{provider['options']['path']}" in readme


def test_cameras_are_found_without_loki(tmp_path: Path) -> None:
    """By the commands that the dashboard of one camera and the page on operations give."""
    (text,) = (
        panel["options"]["content"]
        for panel in files.panels(files.DASHBOARDS["camera.json"])
        if panel["type"] == "text"
    )
    ranking, tail = re.findall(r"`(grep [^`]+)`", text)
    assert {ranking, tail} <= set(
        re.findall(r"`(grep [^`]+)`", (ROOT / "docs" / "operations.md").read_text())
    )
    line = '{"timestamp": "t", "level": "warning", "event": "%s", "stream": "5d0c81f2", "camera": "%s", "reason": "R"}\n'
    told = [("frame.refused", "gate"), *[("frame.refused", "door")] * 2, ("stream.ended", "yard")]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text("".join(line % each for each in told))

    def run(command: str) -> list[str]:
        return subprocess.check_output(command, shell=True, cwd=tmp_path, text=True).splitlines()

    assert [each.split() for each in run(ranking)] == [
        ["2", '"camera":', '"door"'],
        ["1", '"camera":', '"gate"'],
    ]
    assert len(run(tail)) == 2
