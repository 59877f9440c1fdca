"""Which variables turn traces on, and what is said of those that are not acceptable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import tracing
from telemetry.settings import OtelError, load_otel_settings

COLLECTOR = "http://localhost:4317"


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, COLLECTOR),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR,
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other:1",
            },
            "https://other:1",
        ),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_an_endpoint_turns_them_on(
    environment: dict[str, str], endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless something else turns them off."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.load_trace_settings().endpoint(load_otel_settings(None)) == endpoint


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "'otlp' or 'none'"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "'parentbased_traceidratio'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "less than or equal to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "few", "a valid number"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "than or equal to"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "'grpc'"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip", "'gzip' or 'none'"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "greater than 0"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere", "does not point to a file"),
        ("OTEL_PROPAGATORS", "b3", "tracecontext"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "greater than or equal to 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "greater than or equal to 1"),
    ],
)
def test_a_value_that_is_not_acceptable_is_named(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable, and what is."""
    monkeypatch.setenv(name, value)
    with pytest.raises(OtelError, match=f"^{name}={value}: ") as raised:
        tracing.load_trace_settings()
    assert allowed in str(raised.value)


def test_a_batch_that_is_larger_than_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named; a smaller queue alone makes smaller batches."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    assert tracing.load_trace_settings().otel_bsp_max_queue_size == 100
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200")
    with pytest.raises(OtelError, match="=200: must be at most OTEL_BSP_MAX_QUEUE_SIZE"):
        tracing.load_trace_settings()


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_any_sampler_is_known_or_refused(name: str) -> None:
    """And nothing else is raised."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_TRACES_SAMPLER", name)
        try:
            sampler = tracing.load_trace_settings().otel_traces_sampler
        except OtelError as error:
            assert str(error).startswith("OTEL_TRACES_SAMPLER=")
        else:
            assert sampler == (name.strip().lower() or "parentbased_always_on")
