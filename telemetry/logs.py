"""The log of a process: JSON, one line an event, to the standard error and a file; for people where one looks on.

Where loggers come from does not change: `structlog.get_logger()`. docs/operations.md lists the events.
"""

import logging
import sys
from pathlib import Path
from typing import Final

import structlog
from structlog.typing import Processor

from telemetry.collapsing import Collapsing
from telemetry.log_file import LogFile
from telemetry.records import STAMP
from telemetry.redaction import redact

#: Without the frames' locals, which structlog would add: among them are tokens and images.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_TRACEBACKS_FOR_PEOPLE: Final = structlog.processors.ExceptionRenderer()


class LogFileError(Exception):
    """The log's file cannot be written, as the process starts."""


def configure(path: Path, *, level: str, debug: bool) -> None:
    """Send structlog's and the standard library's records to the standard error and a file.

    Args:
        path: of the file; no other process may write to it.
        level: the lowest that is logged, by its name.
        debug: whether the standard error gets text for people; it does on a terminal, too.

    Raises:
        LogFileError: the file cannot be written; the text is for people.
    """
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        STAMP,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = _formatter(before, _TRACEBACKS, redact, structlog.processors.JSONRenderer())
    terminal = sys.stderr.isatty()
    for_people = _formatter(
        before,
        _TRACEBACKS_FOR_PEOPLE,
        redact,
        structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback
        ),
    )
    console = logging.StreamHandler()
    console.setFormatter(for_people if debug or terminal else as_json)
    try:
        file = LogFile(path, console.handle)
    except OSError as error:
        raise LogFileError(
            f"LOG_FILE: {path} cannot be written: {error.strerror}; choose another place"
        ) from error
    file.setFormatter(as_json)
    root = logging.getLogger()
    root.handlers[:] = [Collapsing([console, file])]
    root.setLevel(level)
    # What cannot be written must not fill the standard error with stack traces.
    logging.raiseExceptions = False


def _formatter(before: list[Processor], *last: Processor) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
