"""Pages of several workers as one."""

from bridge.merged_page import merged
from tests.telemetry.pages import parsed, value

PAGE = """# HELP frames_total Frames that came.
# TYPE frames_total counter
frames_total{{protocol="json"}} {frames}
# HELP took_seconds How long.
# TYPE took_seconds histogram
took_seconds_bucket{{le="1.0"}} {frames}
took_seconds_bucket{{le="+Inf"}} {frames}
took_seconds_count {frames}
took_seconds_sum 0.5
# HELP open Connections.
# TYPE open gauge
open {frames}
"""


def test_each_series_has_its_workers_number() -> None:
    """So that sums are those of all, and none falls but where its own worker began anew."""
    page = parsed(merged({1: PAGE.format(frames=3), 2: PAGE.format(frames=4)}).decode())
    assert page["frames"].type == "counter"
    assert page["took_seconds"].type == "histogram"
    assert page["open"].documentation == "Connections."
    assert value(page, "frames_total", worker="1", protocol="json") == 3
    assert value(page, "frames_total", worker="2", protocol="json") == 4
    assert value(page, "took_seconds_bucket", le="1.0") == 7
    assert value(page, "open") == 7
    assert value(page, "crowd_detector_bridge_worker_up") == 2


def test_a_worker_that_gave_nothing_is_named() -> None:
    """Whoever sums learns that a part is missing."""
    page = parsed(merged({1: PAGE.format(frames=3), 2: None}).decode())
    assert value(page, "frames_total") == 3
    assert value(page, "crowd_detector_bridge_worker_up", worker="1") == 1
    assert value(page, "crowd_detector_bridge_worker_up", worker="2") == 0
