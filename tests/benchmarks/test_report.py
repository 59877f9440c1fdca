from benchmarks import report
from tests.benchmarks.rows import a_round, row


def test_medians_are_those_of_each_measurement_over_the_rounds() -> None:
    rows = [row("stream", fps, number=n) for n, fps in enumerate((10.0, 30.0, 20.0), 1)]
    (only,) = report.medians(rows)
    assert (only["fps"], only["fps_least"], only["fps_most"]) == (20.0, 10.0, 30.0)


def test_a_figure_that_some_rounds_lack_is_the_median_of_the_others() -> None:
    rows = [row("LitServe", 0.0), row("LitServe", 1.0, number=2, age_p50_ms=7.0)]
    (only,) = report.medians(rows)
    assert only["age_p50_ms"] == 7.0


def test_the_table_has_a_line_for_every_measurement() -> None:
    table = report.table(a_round())
    assert "LitServe, 16, saturation" in table
    assert "LitServe, a worker a core, 16, saturation" in table
    assert "stream, 16, half" in table
    assert len(table.splitlines()) == 1 + len(report.medians(a_round()))


def test_a_verdict_says_what_was_aimed_at() -> None:
    text = report.verdicts({"stream_vs_prototype": 4.0, "stream_vs_litserve": 4.0, "other": 1.0})
    assert [line.split()[-1] for line in text.splitlines()] == ["missed", "reached", "1.000"]


def test_a_disturbed_run_is_told() -> None:
    quiet, disturbed = row("stream", 1.0), row("stream", 1.0, others_percent=30.0)
    assert report.warnings([quiet], {}) == []
    (warning,) = report.warnings([quiet, disturbed], {})
    assert "1 of 2 measurements" in warning


def test_what_was_left_out_is_told_with_its_reason() -> None:
    (warning,) = report.warnings(
        [row("stream", 1.0)], {"Ray Serve, embedded": "not installed: ray"}
    )
    assert warning == "left out: Ray Serve, embedded: not installed: ray"


def test_a_contender_that_was_not_saturated_is_told() -> None:
    (warning,) = report.warnings([row("LitServe", 1.0, unanswered_share=0.0)], {})
    assert "LitServe" in warning
    assert "not saturated" in warning.replace("\n", " ")


def test_a_load_generator_that_was_late_is_told() -> None:
    (warning,) = report.warnings([row("stream", 1.0, generator_lag_p99_ms=50.0)], {})
    assert "generator" in warning


def test_a_contender_that_finds_something_else_is_told() -> None:
    rows = [
        row(name, 1.0, found_per_frame=4.5) for name in ("in-process limit", "stream", "LitServe")
    ]
    assert report.warnings(rows, {}) == []
    (warning,) = report.warnings([*rows, row("prototype", 1.0, found_per_frame=2.0)], {})
    assert warning.startswith("prototype")
