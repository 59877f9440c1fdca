"""Rows as a run gives them, made up: nothing is measured."""

from typing import Any

from benchmarks.plan import FAIRNESS, HALF, IDLE, SATURATION, TWICE
from benchmarks.setups import EMBEDDED


def row(
    contender: str,
    fps: float,
    *,
    streams: int = 16,
    load: str = SATURATION,
    number: int = 1,
    setup: str = EMBEDDED,
    **figures: Any,
) -> dict[str, Any]:
    """Return one measurement."""
    return {
        "round": number,
        "setup": setup,
        "contender": contender,
        "streams": streams,
        "load": load,
        "fps": fps,
        "others_percent": 0.0,
        "unanswered_share": 0.2,
        **figures,
    }


def a_round(
    number: int = 1, *, stream: float = 180.0, setup: str = EMBEDDED
) -> list[dict[str, Any]]:
    """Return one round: the limit 190 and 210, the predict loop 21 and 19."""
    costs = {1: 10.0, 4: 10.0, 16: 10.2, 50: 10.4}
    where: dict[str, Any] = {"number": number, "setup": setup}
    return [
        row("in-process limit", 190.0, streams=0, **where),
        *(
            row(
                "stream",
                stream,
                streams=streams,
                cpu_ms_per_frame=cost,
                generator_cpu_percent=20.0,
                **where,
            )
            for streams, cost in costs.items()
        ),
        row("stream", 90.0, load=HALF, age_p99_ms=30.0, **where),
        row("stream", 180.0, load=TWICE, age_p99_ms=80.0, offered_fps=400.0, **where),
        row("stream", 5.0, streams=1, load=IDLE, age_p50_ms=15.0, **where),
        row(
            "stream",
            80.0,
            streams=8,
            load=FAIRNESS,
            answered_by_stream=[20, 10, 10, 10, 9, 10, 10, 1],
            **where,
        ),
        row("unary", 0.9 * stream, **where),
        row("ws-json", 0.8 * stream, **where),
        row("ws-binary", 0.85 * stream, **where),
        row("in-process limit", 210.0, streams=0, **where),
        row("predict loop", 21.0, streams=0, **where),
        row("prototype", 20.0, **where),
        row("predict loop", 19.0, streams=0, **where),
        row("LitServe", 45.0, **where),
        row("LitServe, a worker a core", 60.0, **where),
        row("Ray Serve", 30.0, **where),
    ]
