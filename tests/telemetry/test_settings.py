"""The standard variables: what is accepted, what is refused, and how that is said."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.settings import OtelError, OtelSettings, load_otel_settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def test_nothing_is_exported_unless_an_endpoint_is_set() -> None:
    """The SDK's own default would be localhost."""
    assert load_otel_settings(None).metrics_endpoint is None


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, "http://a:4317"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://b",
            },
            "https://b",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "a:4317", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "a:4317", "OTEL_METRICS_EXPORTER": "None"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
    ],
)
def test_where_metrics_go(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], endpoint: str | None
) -> None:
    """To the endpoint of metrics, or of all; nowhere where that is switched off."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert load_otel_settings(None).metrics_endpoint == endpoint


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
    ],
)
def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str, cure: str) -> None:
    """With the variable, its value, and what to write."""
    monkeypatch.setenv(name, text)
    with pytest.raises(OtelError) as refused:
        load_otel_settings(None)
    assert str(refused.value).startswith(f"{name}={text}: ")
    assert cure in str(refused.value)


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


@given(st.text())
def test_whatever_is_written_is_taken_or_refused(text: str) -> None:
    """Nothing else happens."""
    for name in ("otel_resource_attributes", "otel_exporter_otlp_endpoint"):
        try:
            settings = OtelSettings(**{name: text})  # type: ignore[arg-type] # by its name
        except ValueError:
            continue
        assert getattr(settings, name) == text
