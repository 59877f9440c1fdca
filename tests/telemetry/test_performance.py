"""What was done, once a minute; nothing where nothing was."""

import asyncio
from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from telemetry.performance import summarise
from tests.servers import until


async def test_a_line_each_time_that_something_was_done_and_a_last_one() -> None:
    """An idle process writes none."""
    work = [{"frames": 1}, None, {"frames": 2}]
    asked = 0

    def figures() -> Mapping[str, Any] | None:
        nonlocal asked
        asked += 1
        return work.pop(0) if work else None

    with capture_logs() as lines:
        task = asyncio.create_task(summarise("done", figures, seconds=0.01))
        await until(lambda: asked >= 5)
        work.append({"frames": 3})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [(line["event"], line["frames"]) for line in lines] == [
        ("done", 1),
        ("done", 2),
        ("done", 3),
    ]
    assert all(line["seconds"] >= 0 for line in lines)
