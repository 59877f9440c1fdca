"""The standard variables: what is accepted, what is refused, and how that is said."""

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.util.re import parse_env_headers

from telemetry.otlp import exporter
from telemetry.settings import OtelError, OtelSettings, load_otel_settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def test_nothing_is_exported_unless_an_endpoint_is_set() -> None:
    """The SDK's own default would be localhost."""
    settings = load_otel_settings(None)
    assert (settings.metrics_endpoint, settings.traces_endpoint) == (None, None)


@pytest.mark.parametrize(
    ("variables", "metrics", "traces"),
    [
        ({"ENDPOINT": "http://a:4317"}, "http://a:4317", "http://a:4317"),
        ({"ENDPOINT": "a", "METRICS_ENDPOINT": "https://b"}, "https://b", "a"),
        ({"ENDPOINT": "a", "TRACES_ENDPOINT": "https://b"}, "a", "https://b"),
        ({"METRICS_ENDPOINT": "a"}, "a", None),
        ({"ENDPOINT": "a:4317", "OTEL_SDK_DISABLED": "TRUE"}, None, None),
        ({"ENDPOINT": "a:4317", "OTEL_METRICS_EXPORTER": "None"}, None, "a:4317"),
        ({"ENDPOINT": "a:4317", "OTEL_TRACES_EXPORTER": "none"}, "a:4317", None),
        ({"ENDPOINT": ""}, None, None),
    ],
)
def test_where_they_go(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    metrics: str | None,
    traces: str | None,
) -> None:
    """To the endpoint of the signal, or of all; nowhere where that is switched off."""
    for name, text in variables.items():
        monkeypatch.setenv(name if name.startswith("OTEL") else f"OTEL_EXPORTER_OTLP_{name}", text)
    settings = load_otel_settings(None)
    assert (settings.metrics_endpoint, settings.traces_endpoint) == (metrics, traces)


@pytest.mark.parametrize(
    ("name", "text", "cure"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "only grpc is supported"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "only grpc is supported"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "seconds"),
        ("OTEL_METRICS_EXPORTER", "console", "'otlp' or 'none'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5", "milliseconds"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "team=a"),
        ("OTEL_SDK_DISABLED", "perhaps", "boolean"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "'otlp' or 'none'"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "'parentbased_traceidratio'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "less than or equal to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "few", "a valid number"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "than or equal to"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "only grpc is supported"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "bzip2", "'gzip' or 'none'"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip", "'gzip' or 'none'"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "greater than 0"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere", "does not point to a file"),
        ("OTEL_PROPAGATORS", "b3", "tracecontext"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "greater than or equal to 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "greater than or equal to 1"),
    ],
)
def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str, cure: str) -> None:
    """With the variable, its value, and what to write."""
    monkeypatch.setenv(name, text)
    with pytest.raises(OtelError) as refused:
        load_otel_settings(None)
    assert str(refused.value).startswith(f"{name}={text}: ")
    assert cure in str(refused.value)


def test_all_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever signal."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    with pytest.raises(OtelError, match=r"OTEL_METRICS_EXPORTER=.*\nOTEL_TRACES_SAMPLER="):
        load_otel_settings(None)


@pytest.mark.parametrize(
    "headers",
    ["x-api-key: SECRET", "a=b,SECRET", "key=SECRET;more", "key=SECRET\u00e9", "key=SECRET%0a"],
)
def test_headers_that_would_not_be_sent_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    """They may hold a token; the SDK would log it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with pytest.raises(OtelError, match=r"^OTEL_EXPORTER_OTLP_HEADERS=.*key=value") as refused:
        load_otel_settings(None)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "headers", ["authorization=Bearer%20a.b-c", "Authorization=Bearer abc==", "a=1, b = 2,", "a="]
)
def test_headers_that_are_sent(monkeypatch: pytest.MonkeyPatch, headers: str) -> None:
    """As the SDK reads them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    assert load_otel_settings(None).otel_exporter_otlp_headers == headers
    assert len(parse_env_headers(headers, liberal=True)) == headers.strip(",").count(",") + 1


def test_a_batch_that_is_larger_than_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named; a smaller queue alone makes smaller batches."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    assert load_otel_settings(None).otel_bsp_max_queue_size == 100
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200")
    with pytest.raises(OtelError, match="=200: must be at most OTEL_BSP_MAX_QUEUE_SIZE"):
        load_otel_settings(None)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the SDK, too, which would not start with some."""
    for name in ("TIMEOUT", "TRACES_TIMEOUT", "COMPRESSION", "METRICS_COMPRESSION"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "")
    settings = load_otel_settings(None)
    assert settings == OtelSettings()
    assert not [name for name in os.environ if name.startswith("OTEL_")]


@pytest.mark.parametrize(("compression", "gzip"), [("none", False), ("gzip", True), ("GZIP", True)])
def test_exporters_are_made_as_is_said(
    monkeypatch: pytest.MonkeyPatch, compression: str, gzip: bool
) -> None:
    """Both with the same words, of which the SDK knows some only."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7")
    settings = load_otel_settings(None)
    metrics = exporter(OTLPMetricExporter, "metrics", "http://127.0.0.1:1", settings)
    traces = exporter(OTLPSpanExporter, "traces", "http://127.0.0.1:1", settings)
    for made, timeout in ((metrics, 10.0), (traces, 7.0)):
        assert (made._compression is grpc.Compression.Gzip) is gzip
        assert made._timeout == timeout
        made.shutdown()


def test_a_file_counts_where_the_environment_is_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The SDK, which reads the environment alone, learns of it too."""
    file = tmp_path / ".env"
    file.write_text(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://file:4317\nOTEL_EXPORTER_OTLP_HEADERS=a=b\n"
        "OTEL_SERVICE_NAME=from-file\nPORT=9\nOTEL_METRICS_EXPORTER=\n"
    )
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.setenv(name, "")  # so that what is put there is taken away again
        monkeypatch.delenv(name)
    settings = load_otel_settings(file)
    assert settings.metrics_endpoint == "http://file:4317"
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "a=b"
    assert os.environ["OTEL_SERVICE_NAME"] == "from-environment"
    assert "PORT" not in os.environ


def test_processes_that_it_starts_are_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the bridge read the environment, too."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317")
    for _ in range(2):
        assert load_otel_settings(None).traces_endpoint is None


@given(st.text())
def test_whatever_is_written_is_taken_or_refused(text: str) -> None:
    """Nothing else happens."""
    for name in (
        "otel_resource_attributes",
        "otel_exporter_otlp_endpoint",
        "otel_exporter_otlp_headers",
    ):
        known: dict[str, Any] = {name: text}
        try:
            settings = OtelSettings(**known)
        except ValueError:
            continue
        assert getattr(settings, name) == text


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_any_sampler_is_known_or_refused(name: str) -> None:
    """And nothing else is raised."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_TRACES_SAMPLER", name)
        try:
            sampler = load_otel_settings(None).otel_traces_sampler
        except OtelError as error:
            assert str(error).startswith("OTEL_TRACES_SAMPLER=")
        else:
            assert sampler == (name.strip().lower() or "parentbased_always_on")
