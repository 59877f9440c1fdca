"""A process's figures, on a page and by OTLP to a collector, be that there or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog

from telemetry.instruments import DURATIONS
from telemetry.metrics import Metrics
from telemetry.settings import OtelError, OtelSettings
from tests.servers import until
from tests.telemetry.metrics_receiver import MetricsReceiver, receiving
from tests.telemetry.pages import parsed, value


@asynccontextmanager
async def counting(**settings: Any) -> AsyncIterator[Metrics]:
    """Count, as a process called `test` does."""
    metrics = Metrics("test", OtelSettings(**settings))
    try:
        yield metrics
    finally:
        await asyncio.to_thread(metrics.close)


@asynccontextmanager
async def exporting(receiver: MetricsReceiver, **settings: Any) -> AsyncIterator[Metrics]:
    """Count, and export ten times a second."""
    every = {
        "otel_exporter_otlp_endpoint": receiver.endpoint,
        "otel_metric_export_interval": 100,
    }
    async with counting(**(every | settings)) as metrics:
        yield metrics


async def test_the_page_has_what_was_counted() -> None:
    """With the buckets that were asked for, and the process's own figures."""
    async with counting() as metrics:
        histogram = metrics.meter.create_histogram(
            "some.duration", "s", "Of a test.", explicit_bucket_boundaries_advisory=DURATIONS
        )
        for seconds in (0.0001, 0.004, 20.0):
            histogram.record(seconds, {"stage": "first"})
        page = parsed(metrics.page().decode())
    assert value(page, "some_duration_seconds_count", stage="first") == 3
    bounds = [
        sample.labels["le"]
        for sample in page["some_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert bounds == [*map(str, DURATIONS), "+Inf"]
    assert value(page, "some_duration_seconds_bucket", le="0.00025") == 1
    assert value(page, "some_duration_seconds_bucket", le="10.0") == 2
    assert value(page, "process_memory_usage_bytes") > 1_000_000
    assert value(page, "process_cpu_time_seconds_total", cpu_mode="user") > 0


async def test_a_collector_gets_what_the_page_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """With who it comes from, which the environment may say."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=hall,team=a")
    from telemetry.resource import resource

    resource.cache_clear()
    async with receiving() as receiver:
        async with exporting(receiver) as metrics:
            metrics.meter.create_counter("some.events", "{event}").add(7)
            await until(lambda: receiver.count("some.events"))
            page = parsed(metrics.page().decode())
        sent, about = receiver.count("some.events"), receiver.resource()
    resource.cache_clear()
    assert sent == value(page, "some_events_total") == 7
    assert about["service.name"] == "test"
    assert about["deployment.environment.name"] == "hall"
    assert {"service.instance.id", "service.version", "telemetry.sdk.version"} <= set(about)
    labels = page["target_info"].samples[0].labels
    assert labels["service_instance_id"] == about["service.instance.id"]


async def test_the_last_figures_leave_as_it_ends() -> None:
    """Though the next export was a day away."""
    async with receiving() as receiver:
        async with exporting(receiver, otel_metric_export_interval=86_400_000) as metrics:
            metrics.meter.create_counter("some.events").add(1)
        assert receiver.count("some.events") == 1


async def test_a_collector_that_is_away_is_missed_once() -> None:
    """One line as it goes, one as it is back, and a count of what was lost."""
    async with receiving() as receiver:
        with structlog.testing.capture_logs() as log:
            async with exporting(receiver) as metrics:
                await until(lambda: receiver.requests)
                await receiver.stop()
                receiver.requests.clear()
                await until(lambda: failed(metrics) >= 1)
                receiver.refuse = grpc.StatusCode.PERMISSION_DENIED  # at once, without more tries
                await receiver.restart()
                await until(lambda: failed(metrics) >= 4)
                receiver.refuse = None
                await until(lambda: receiver.requests)
    gone, back = log
    assert gone["event"] == "telemetry.export_failed"
    assert receiver.endpoint in gone["message"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in gone["message"]
    assert "UNAVAILABLE" in gone["reason"]
    assert back["event"] == "telemetry.exported_again"
    assert back["lost"] >= 4


async def test_a_collector_that_does_not_answer_holds_up_nobody() -> None:
    """Neither the counting, nor the page, nor the end: that would else be a minute away."""
    async with receiving() as receiver:
        receiver.gate.clear()
        async with asyncio.timeout(30):
            async with exporting(receiver, otel_exporter_otlp_timeout=60) as metrics:
                await until(lambda: receiver.calls)
                counter = metrics.meter.create_counter("some.events")
                counter.add(1)
                page = parsed((await asyncio.to_thread(metrics.page)).decode())
        assert value(page, "some_events_total") == 1
        assert not receiver.requests


async def test_a_disabled_sdk_exports_nothing_and_has_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page is no export: whoever wants it asks for it."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        metrics = Metrics("test", OtelSettings())
        metrics.meter.create_counter("some.events").add(1)
        page = parsed(metrics.page().decode())
        await asyncio.to_thread(metrics.close)
        await asyncio.to_thread(metrics.close)  # twice is once
    assert value(page, "some_events_total") == 1
    assert not receiver.calls


async def test_what_the_sdk_cannot_use_is_said_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of variables that it reads itself."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER", "made_up")
    with pytest.raises(OtelError, match=r"OTEL_EXPORTER_OTLP_.*made_up"):
        Metrics("test", OtelSettings(otel_exporter_otlp_endpoint="https://127.0.0.1:1"))


def failed(metrics: Metrics) -> float:
    """Return how many exports were lost."""
    page = parsed(metrics.page().decode())
    return value(page, "crowd_detector_telemetry_exports_failed_total", signal="metrics")
