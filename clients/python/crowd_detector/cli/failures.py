"""Why a command ends before its work is done: one sentence for people, and an exit code."""

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.errors import (
    AnswerTimeoutError,
    DetectorError,
    FrameError,
    UnauthenticatedError,
    UnavailableError,
)


class Failure(Exception):  # noqa: N818 - some of them are no errors: Ctrl-C
    """A command cannot go on; ``str()`` of it is the sentence."""

    def __init__(self, sentence: str, code: ExitCode) -> None:
        super().__init__(sentence)
        self.code = code


def of_service(error: DetectorError) -> Failure:
    """Return what an error of the client means for a command."""
    match error:
        case UnavailableError() | AnswerTimeoutError():
            code = ExitCode.UNAVAILABLE
        case FrameError():
            code = ExitCode.FRAMES
        case _:
            code = ExitCode.REFUSED
    hint = "; --token-file and DETECTOR_TOKEN give one" if _asks_for_token(error) else ""
    return Failure(f"{error}{hint}", code)


def _asks_for_token(error: DetectorError) -> bool:
    return isinstance(error, UnauthenticatedError) and "token" in str(error)


def of_file(error: Exception, name: object = None) -> str:
    """Return one sentence for what the operating system, or FFmpeg, says of a file."""
    name = name or getattr(error, "filename", None)
    return f"{name}: {getattr(error, 'strerror', None) or error}"
