"""The file that the log goes to."""

import logging
import logging.handlers
import os
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from telemetry.records import own_record

_BYTES: Final = 10 * 1024 * 1024
_OLD_FILES: Final = 5


class LogFile(logging.handlers.RotatingFileHandler):
    """Lines in a file that is rotated.

    While it cannot be written, lines are on the standard error alone; that is said once, and once more when it can be
    again. A line is in it as a whole or not at all. A file that was removed or moved away is made anew.
    """

    def __init__(self, path: Path, tell: Callable[[logging.LogRecord], object]) -> None:
        """Open it, with the folders on its way.

        Args:
            path: of the file.
            tell: is given what there is to say about it, for the standard error.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
        self._tell: Final = tell
        self._missing = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; never raises."""
        try:
            self._append(f"{self.format(record)}\n")
            if self._missing:
                self._tell_recovered()
        except OSError as error:
            if not self._missing:
                self._tell_failed(error)
            self._missing += 1
        except Exception:  # noqa: BLE001 - as the standard library's handlers do
            self.handleError(record)

    def _append(self, line: str) -> None:
        file = self._opened()
        size = os.fstat(file.fileno()).st_size
        if size and size + len(line) >= self.maxBytes:
            self.doRollover()
            file, size = self._opened(), 0
        try:
            file.write(line)
            file.flush()
        except OSError:
            self._let_go()
            with suppress(OSError):  # of half a line nobody could make anything
                os.truncate(self.baseFilename, size)
            raise

    def _opened(self) -> TextIOWrapper:
        if self.stream is not None and not self._in_place(self.stream):
            self._let_go()
        if self.stream is None:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            self.stream = self._open()
        return self.stream

    def _in_place(self, file: TextIOWrapper) -> bool:
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        """Close the file; a line that it could not take is tried once more by that."""
        file, self.stream = self.stream, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _tell_failed(self, error: OSError) -> None:
        self._tell(
            own_record(
                logging.WARNING,
                "log.file_failed",
                path=self.baseFilename,
                message=f"the log cannot be written: {error.strerror}; its lines are on the standard error alone until it "
                "can be. Free some space, or mend the folder and its permissions",
            )
        )

    def _tell_recovered(self) -> None:
        missing, self._missing = self._missing, 0
        told = own_record(
            logging.WARNING,
            "log.file_recovered",
            path=self.baseFilename,
            missing=missing,
            message=f"the log can be written again; {missing} lines before this one are not in it, and were written to "
            "the standard error alone. There is nothing to do",
        )
        self._tell(told)
        self._append(f"{self.format(told)}\n")
