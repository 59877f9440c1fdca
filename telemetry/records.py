"""Records of the log's own, made as structlog's loggers make them."""

import logging
from typing import Any

import structlog

#: What stamps every event.
STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


def own_record(level: int, event: str, **fields: Any) -> logging.LogRecord:
    """Return a record for a handler that has something to say itself.

    Args:
        level: of the standard library.
        event: its name.
        fields: more of it.
    """
    name = logging.getLevelName(level).lower()
    made = {"event": event, "level": name, **fields}
    return logging.makeLogRecord(
        {
            "name": __name__,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": STAMP(None, name, made),
            # By these structlog's formatter knows its own; see ProcessorFormatter.wrap_for_formatter.
            "_logger": None,
            "_name": name,
        }
    )
