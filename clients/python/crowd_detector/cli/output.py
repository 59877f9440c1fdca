"""What goes where: answers to the standard output, as tables or JSON lines; the rest to the other."""

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.text import Text

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.printable import printable
from crowd_detector.errors import FrameError
from crowd_detector.results import Result


class Output:
    """The standard output and the standard error of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.for_people: Final = sys.stdout.isatty() and not as_json
        self.errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)
        #: Whether something that moves may be drawn on the standard error.
        self.may_draw: Final = sys.stderr.isatty() and (self.for_people or not sys.stdout.isatty())

    def line(self, record: dict[str, Any]) -> None:
        """Write one line of JSON, at once: whoever reads may be waiting for it."""
        try:
            print(json.dumps(record, separators=(",", ":")), flush=True)
        except BrokenPipeError as error:
            raise Failure("", ExitCode.PIPE_CLOSED) from error
        except OSError as error:
            raise Failure(of_file(error, "standard output"), ExitCode.OUTPUT) from error

    def show(self, table: RenderableType) -> None:
        """Write for people."""
        Console(highlight=False).print(table)

    def tell(self, sentence: str) -> None:
        """Write what a command has done: among the tables for people, else beside the lines."""
        if self.for_people:
            self.show(Text(printable(sentence)))
        else:
            self.errors.print(Text(printable(sentence)))

    def say(self, sentence: str) -> None:
        """Write one sentence beside the output."""
        self.errors.print(Text(printable(f"detector: {sentence}")))


def record(answer: Result | FrameError, **where: object) -> dict[str, Any]:
    """Return an answer as what is written of it: where it is from first."""
    if isinstance(answer, FrameError):
        return {**where, "error": {"reason": answer.reason, "message": str(answer)}}
    return {**where, **answer.as_dict()}


def plain(value: Any) -> dict[str, Any]:
    """Return one of the client's dataclasses as what JSON can hold."""
    assert is_dataclass(value)
    assert not isinstance(value, type)
    return asdict(value)
