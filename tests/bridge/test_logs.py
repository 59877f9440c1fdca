"""Logs: what went wrong is in them, and nothing that was confided."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bridge.logs
import detector_service.logs
import pytest
import structlog

import bridge.settings
import detector_service.settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, library = logging.getLogger(), logging.getLogger("websockets.server")
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    library.setLevel(logging.NOTSET)
    library.filters.clear()
    structlog.reset_defaults()


def _bridge(path: Path, *, debug: bool) -> None:
    settings = bridge.settings.load_settings(_env_file=None, log_file=path, debug=debug)
    bridge.logs.configure(settings)


def _detector(path: Path, *, debug: bool) -> None:
    settings = detector_service.settings.load_settings(_env_file=None, log_file=path, debug=debug)
    detector_service.logs.configure(settings)


def _fail() -> None:
    token = "confi" + "ded"
    raise RuntimeError(str(len(token)))


@pytest.mark.parametrize("configure", [_bridge, _detector])
@pytest.mark.parametrize("debug", [True, False])
def test_tracebacks_hold_no_locals(
    configure: Callable[..., Any], debug: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Among them would be tokens and images."""
    configure(tmp_path / "app.log", debug=debug)
    try:
        _fail()
    except RuntimeError:
        structlog.stdlib.get_logger().exception("failed")
    (log,) = tmp_path.iterdir()
    for text in (capsys.readouterr().err, log.read_text()):
        assert "RuntimeError" in text
        assert "confided" not in text


def test_what_fails_in_a_handler_is_logged(tmp_path: Path) -> None:
    """The WebSocket library catches it; a client that did not shake hands is no fault of ours."""
    _bridge(tmp_path / "app.log", debug=False)
    library = logging.getLogger("websockets.server")
    library.error("opening handshake failed")
    library.error("connection handler failed")
    log = (tmp_path / "app.bridge.log").read_text()
    assert "connection handler failed" in log
    assert "opening handshake failed" not in log
