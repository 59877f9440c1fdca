"""A flood on its way to the log: what makes its lines alike, and when their number is told."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from telemetry.collapsing import Collapsing
from telemetry.records import own_record
from tests.servers import until


class Written(logging.Handler):
    """Keeps what is passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        self.events.append(event)


async def test_the_number_is_told_at_the_windows_end_and_at_the_processs() -> None:
    """Though nothing else is logged."""
    written = Written()
    collapsing = Collapsing([written], first=1, seconds=0.05)
    for _ in range(5):
        collapsing.handle(own_record(logging.WARNING, "full", reason="A"))
    await until(lambda: len(written.events) == 2)
    assert written.events[1]["repeated"] == 4
    collapsing.close()
    assert len(written.events) == 2

    collapsing = Collapsing([written], first=1, seconds=600)
    for _ in range(3):
        collapsing.handle(own_record(logging.ERROR, "full", reason="A"))
    assert len(written.events) == 3
    collapsing.close()
    assert (written.events[-1]["repeated"], written.events[-1]["level"]) == (2, "error")


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_where_no_thread_can_be_started_the_next_record_tells_the_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever logs is not told."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    written = Written()
    collapsing = Collapsing([written], first=1, seconds=0.05)
    while len(written.events) < 2:
        collapsing.handle(own_record(logging.WARNING, "full"))
    assert written.events[1]["repeated"] > 0
    collapsing.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"reason": "A"}, {"reason": "B"}),
        ({"path": Path("a")}, {"path": Path("b")}),
        ({"call": "Detect"}, {"call": "GetStats"}),
        ({"exc_info": _raised(KeyError("a"))}, {"exc_info": _raised(ValueError("a"))}),
        ({"exc_info": KeyError("a")}, {"exc_info": _raised(KeyError("a"))}),
    ],
)
def test_causes_are_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Each has first lines of its own; texts may differ."""
    written = Written()
    collapsing = Collapsing([written], first=1, seconds=600)
    for number in range(4):
        collapsing.handle(own_record(logging.WARNING, "failed", message=f"{number}", **one))
        collapsing.handle(own_record(logging.WARNING, "failed", message=f"{number}", **other))
    assert len(written.events) == 2
    collapsing.close()
    assert [event["repeated"] for event in written.events[2:]] == [3, 3]


def test_what_libraries_say_is_counted_by_its_template() -> None:
    """Before its arguments are filled in; an exception that is being handled counts as theirs."""
    written = Written()
    collapsing = Collapsing([written], first=1, seconds=600)
    library = logging.getLogger("some.library")
    library.propagate = False
    library.addHandler(collapsing)
    try:
        for number in range(4):
            library.warning("retrying in %d s", number)
            try:
                _fail()
            except OSError:
                library.exception("gave up")
    finally:
        library.removeHandler(collapsing)
        library.propagate = True
    assert [event["event"] for event in written.events] == ["retrying in 0 s", "gave up"]
    collapsing.close()
    first, second = written.events[2:]
    assert (first["event"], first["logger"], first["repeated"]) == (
        "retrying in %d s",
        "some.library",
        3,
    )
    assert (second["error"], second["repeated"]) == ("OSError", 3)
    assert second["at"].startswith("test_collapsing.py:")


def _fail() -> None:
    raise OSError
