"""Logs: JSON, one line an event, to the standard error and a file; for people where a person looks on."""

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Final

import structlog

from bridge.errors import ConfigurationError
from bridge.settings import Settings

_FILE_BYTES: Final = 10 * 1024 * 1024
_OLD_FILES: Final = 5
#: Without the frames' locals, which structlog would add: among them are tokens and images.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def log_path(log_file: Path, worker: int = 0) -> Path:
    """Return where a process of the bridge logs: beside the detector's file, for two writers would spoil one.

    Args:
        log_file: LOG_FILE.
        worker: a worker's number, from 1; 0 for the only process, or the one that watches workers.
    """
    end = f".bridge.{worker}" if worker else ".bridge"
    return log_file.with_name(f"{log_file.stem}{end}{log_file.suffix}")


def configure(settings: Settings, worker: int = 0) -> None:
    """Send structlog's and the standard library's records to both places.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = _formatter(before, _TRACEBACKS, structlog.processors.JSONRenderer())
    for_people = _formatter(
        before,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        ),
    )
    console = logging.StreamHandler()
    console.setFormatter(for_people if settings.debug or sys.stderr.isatty() else as_json)
    file = _file_handler(log_path(settings.log_file, worker))
    file.setFormatter(as_json)
    root = logging.getLogger()
    root.handlers[:] = [console, file]
    root.setLevel(settings.log_level)
    # It has two lines to say of each connection; what matters of one the bridge says itself.
    library = logging.getLogger("websockets.server")
    library.setLevel(logging.ERROR)
    library.addFilter(_is_a_fault_of_ours)
    logging.raiseExceptions = (
        False  # a full disk must not fill the standard error with stack traces
    )


def _is_a_fault_of_ours(record: logging.LogRecord) -> bool:
    """Return whether the WebSocket library's error is more than a client that did not shake hands."""
    return record.getMessage() != "opening handshake failed"


def _formatter(
    before: list[structlog.typing.Processor], *last: structlog.typing.Processor
) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(
            path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigurationError(
            f"LOG_FILE: {path} cannot be written: {error.strerror}; choose another place"
        ) from error
