"""What a query of Prometheus names: metrics, labels, and which labels its result has."""

from collections.abc import Iterator

import promql_parser as promql

from tests.test_metrics_table import listed

#: Labels that Prometheus gives to whatever it scrapes.
_TARGET = frozenset({"job", "instance"})

#: Metrics by their names, with their labels; those that are Prometheus' own, too.
METRICS: dict[str, frozenset[str]] = {
    "up": _TARGET,
    "ALERTS": _TARGET | {"alertname", "alertstate", "severity"},
}
for _heading, _more in (("The detector", set()), ("The bridge", {"worker"}), ("Both", {"worker"})):
    for _metric in listed(_heading):
        _labels = _metric.labels | _TARGET | _more
        if _metric.kind == "histogram":
            METRICS[f"{_metric.name}_sum"] = METRICS[f"{_metric.name}_count"] = _labels
            METRICS[f"{_metric.name}_bucket"] = _labels | {"le"}
        else:
            METRICS[_metric.name] = _labels


def selectors(expression: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Give the selectors of an expression."""
    if isinstance(expression, promql.VectorSelector):
        yield expression
    for part in _parts(expression):
        yield from selectors(part)


def has_comparison(expression: promql.Expr) -> bool:
    """Return whether an expression may well be without a result, as alerts are."""
    return isinstance(expression, promql.BinaryExpr) and (
        _is_comparison(expression) or has_comparison(expression.lhs)
    )


def labels(expression: promql.Expr) -> frozenset[str]:
    """Return the labels of an expression's result.

    Raises:
        AssertionError: a metric or a label does not exist.
    """
    if isinstance(expression, promql.VectorSelector):
        assert expression.name in METRICS, f"there is no metric {expression.name}"
        known = METRICS[expression.name]
        for matcher in expression.matchers.matchers:
            assert matcher.name in known, f"{expression.name} has no label {matcher.name}"
        return known
    parts = [labels(part) for part in _parts(expression)]
    found = next(filter(None, parts), frozenset())
    if isinstance(expression, promql.AggregateExpr):
        return _aggregated(expression, found)
    if isinstance(expression, promql.BinaryExpr) and expression.modifier is not None:
        matching = expression.modifier.matching
        assert matching is None or set(matching.labels) <= found, matching
    if isinstance(expression, promql.Call) and expression.func.name == "histogram_quantile":
        assert "le" in found, "there are no buckets"
        return found - {"le"}
    return found


def _aggregated(expression: promql.AggregateExpr, found: frozenset[str]) -> frozenset[str]:
    modifier = expression.modifier
    if modifier is None:
        return frozenset()
    named = frozenset(modifier.labels)
    assert named <= found, f"{set(named - found)} is no label of what is aggregated"
    return named if modifier.type == promql.AggModifierType.By else found - named


def _parts(expression: promql.Expr) -> list[promql.Expr]:
    if isinstance(expression, promql.BinaryExpr):
        return [expression.lhs, expression.rhs]
    if isinstance(expression, promql.Call):
        return list(expression.args)
    if isinstance(expression, promql.MatrixSelector):
        return [expression.vector_selector]
    if isinstance(
        expression,
        promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr,
    ):
        return [expression.expr]
    return []


def _is_comparison(expression: promql.BinaryExpr) -> bool:
    modifier = expression.modifier
    return str(expression.op) in {"==", "!=", ">", "<", ">=", "<="} and not (
        modifier is not None and modifier.return_bool
    )
