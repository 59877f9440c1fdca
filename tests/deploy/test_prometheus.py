"""The configuration and the rules of Prometheus: what they name exists, and each alert has an example."""

import re
import subprocess

import promql_parser
import pytest
import yaml

from tests.deploy import files, promql
from tests.servers import ROOT

FOLDER = files.DEPLOY / "prometheus"
EXAMPLES = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]


@pytest.mark.needs("promtool", "prometheus")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_no_fault(arguments: tuple[str, ...]) -> None:
    """With the files, and with what the rules do in the examples."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_each_alert_has_an_example() -> None:
    """In which it fires; and the first example, of which nothing is said, has every metric that a rule asks for."""
    firing = {
        str(sample["labels"]).partition('alertname="')[2].partition('"')[0]
        for example in EXAMPLES
        for test in example["promql_expr_test"]
        for sample in test["exp_samples"]
    }
    assert firing == {rule["alert"] for rule in files.RULES}
    well, *_ = EXAMPLES
    assert not any(test["exp_samples"] for test in well["promql_expr_test"])
    healthy = {each["series"].partition("{")[0] for each in well["input_series"]}
    asked = {
        selector.name
        for rule in files.RULES
        for selector in promql.selectors(promql_parser.parse(rule["expr"]))
    }
    assert healthy == asked


@pytest.mark.parametrize("rule", files.RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    """In words that exist, and with the dashboard to look at."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "dashboard"}
    assert "$labels.instance" in said["summary"]
    assert not files.made_up(said["summary"] + said["description"])
    path, _, variable = said["dashboard"].partition("?")
    (board,) = (each for each in files.DASHBOARDS.values() if path == f"/d/{each['uid']}")
    if variable:
        name = variable.partition("=")[0].removeprefix("var-")
        assert name in {each["name"] for each in board["templating"]["list"]}


def test_the_page_of_symptoms_names_every_alert() -> None:
    """And no other; nor panels, events or settings that there are not."""
    page = (ROOT / "docs" / "operations.md").read_text()
    chapter = page.partition("\n## What to look at when\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"\bCrowd[A-Z]\w+", chapter))
    assert named == {rule["alert"] for rule in files.RULES}
    assert not files.made_up(chapter)
    titles = {
        title
        for board in files.DASHBOARDS.values()
        for title in (board["title"], *(panel["title"] for panel in board["panels"]))
    }
    shown = re.findall(r"\*([^*]+)\*", " ".join(re.sub("`[^`]*`", "", chapter).split()))
    assert shown
    for name in shown:
        assert any(title.startswith((name, f"Crowd: {name}")) for title in titles), name


@pytest.mark.parametrize("expression", files.OF_RULES, ids=lambda each: each.where)
def test_an_alert_asks_for_what_is_exported(expression: files.Expression) -> None:
    """Every metric and label exists, and every label that its text names is in the result."""
    found = promql.labels(promql_parser.parse(expression.text))
    assert expression.shown <= found
