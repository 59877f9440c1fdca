"""The log of a process: what happened is in it, and nothing that was confided."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from telemetry import logs

pytestmark = pytest.mark.usefixtures("_own_log")


def _logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _fail() -> None:
    token = "confi" + "ded"
    raise RuntimeError(str(len(token)))


@pytest.mark.parametrize("debug", [True, False])
def test_tracebacks_hold_no_locals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, debug: bool
) -> None:
    """Among them would be tokens and images."""
    log = tmp_path / "app.log"
    logs.configure(log, level="INFO", debug=debug)
    try:
        _fail()
    except RuntimeError:
        structlog.get_logger().exception("failed")
    shown = capsys.readouterr().err
    assert shown.startswith("{") is not debug
    for text in (shown, log.read_text()):
        assert "RuntimeError" in text
        assert "confided" not in text


def test_events_have_what_was_bound_and_what_is_confided_is_not_written(tmp_path: Path) -> None:
    """Whoever logs them; a stream and its camera are bound where the stream begins."""
    log = tmp_path / "folder" / "app.log"
    logs.configure(log, level="INFO", debug=False)
    structlog.get_logger().debug("too.detailed")
    with structlog.contextvars.bound_contextvars(stream="5d0c81f2"):
        structlog.get_logger().info("frame.answered", camera="door", token="secret", image=b"\xff")
        logging.getLogger("library").warning("Bearer %s does not match", "secret")
    ours, theirs = _logged(log)
    assert list(ours)[:3] == ["timestamp", "level", "event"]
    assert ours | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "frame.answered",
        "stream": "5d0c81f2",
        "camera": "door",
        "token": "<redacted>",
        "image": "<redacted>",
    }
    assert theirs["event"] == "Bearer <redacted> does not match"
    assert (theirs["logger"], theirs["stream"]) == ("library", "5d0c81f2")


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """With the variable, the path and the cure."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "app.log"
    with pytest.raises(
        logs.LogFileError, match=f"LOG_FILE.*{path} cannot be written.*choose another"
    ):
        logs.configure(path, level="INFO", debug=False)


def test_a_flood_leaves_few_lines_in_both_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of them when the process ends; what is no warning is written, however much."""
    logs.configure(tmp_path / "app.log", level="INFO", debug=False)
    for number in range(1000):
        structlog.get_logger().warning("connection.refused", reason="FULL", message=f"no {number}")
        structlog.get_logger().info("went.on")
    logging.getLogger().handlers[0].close()
    written = capsys.readouterr().err
    assert written == (tmp_path / "app.log").read_text()
    lines = [line for line in _logged(tmp_path / "app.log") if line["event"] != "went.on"]
    assert [line.get("repeated", 1) for line in lines] == [1, 1, 1, 997]
    assert (lines[-1]["event"], lines[-1]["level"]) == ("connection.refused", "warning")
    assert lines[-1]["reason"] == "FULL"
    assert "repeated 997 times" in lines[-1]["message"]
    assert len(_logged(tmp_path / "app.log")) == 1004
