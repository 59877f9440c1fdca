"""What the SDK says of exports, and to whom."""

import logging

import pytest
from structlog.testing import capture_logs

from telemetry.otlp import Exports

SDK = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")


def test_a_failure_that_lasts_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason that the SDK has, which writes nothing itself, not even once nobody listens."""
    exports = Exports("traces", "http://collector:4317")
    with capture_logs() as log:
        exports.note(succeeded=True)
        SDK.error("a failure, and why")
        exports.note(succeeded=False)
        exports.note(succeeded=False)
        exports.note(succeeded=True)
    exports.close()
    SDK.warning("one more try")
    assert [line["event"] for line in log] == [
        "telemetry.export_failed",
        "telemetry.exported_again",
    ]
    assert (log[0]["signal"], log[0]["reason"]) == ("traces", "a failure, and why")
    assert log[1]["lost"] == exports.failed == 2
    assert capsys.readouterr().err == ""
