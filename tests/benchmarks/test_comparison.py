import json
from pathlib import Path

from benchmarks import comparison, ratios

_COMMITTED = Path(__file__).resolve().parents[2] / "benchmarks" / "results.json"


def test_each_ratio_stands_beside_the_committed_one() -> None:
    _, line = comparison.lines(
        {"stream_vs_inprocess": 0.99}, {"stream_vs_inprocess": 0.9}, ["stream_vs_inprocess"]
    )
    assert line.split() == ["stream_vs_inprocess", "0.990", "0.900", "+10.0", "%"]


def test_a_ratio_that_was_never_committed_is_shown_all_the_same() -> None:
    _, line = comparison.lines({"ws_json_vs_stream": 0.9}, {}, ["ws_json_vs_stream"])
    assert line.split() == ["ws_json_vs_stream", "0.900", "none"]


def test_the_committed_file_has_ratios() -> None:
    committed = json.loads(_COMMITTED.read_text("utf-8"))
    assert ratios.QUICK[0] in committed["ratios"]
    assert {"date", "machine", "versions"} <= committed.keys()
