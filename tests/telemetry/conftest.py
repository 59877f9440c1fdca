"""Logging as it was before each test."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def _own_log() -> Iterator[None]:
    """Let a test configure the log of this process."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
