"""``detector detect``: looks at images."""

import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from crowd_detector import (
    DetectionSettings,
    DetectorClient,
    DetectorError,
    Frame,
    FrameError,
    Result,
)
from crowd_detector.cli import images
from crowd_detector.cli.connecting import Outages, client_of
from crowd_detector.cli.display import Display
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_service
from crowd_detector.cli.images import ImageFile
from crowd_detector.cli.interruption import Interruption
from crowd_detector.cli.options import Connection
from crowd_detector.cli.output import Output, record
from crowd_detector.cli.saving import ImageSaver, NotDrawnError
from crowd_detector.cli.tables import ImagesTable

_LARGEST: Final = 32 * 1024 * 1024  # bytes; the service's own limit, by default
_CHUNK: Final = 1024 * 1024  # bytes
_LONGEST_ID: Final = 256  # bytes; the contract's limit
_BAR_FROM: Final = 2  # images


@dataclass(frozen=True, slots=True)
class Options:
    """What is looked at, and what becomes of it."""

    paths: list[str]
    settings: DetectionSettings
    save: Path | None
    as_json: bool


def run(connection: Connection, options: Options) -> None:
    """Look at the images, report each, and save what shall be saved.

    Raises:
        Failure: not all could be done.
    """
    files = images.find(options.paths, without=options.save)
    output = Output(as_json=options.as_json)
    reading = _Reading(files)
    saver = None if options.save is None else ImageSaver(options.save, files)
    table = ImagesTable()
    not_drawn = 0

    def report(file: ImageFile, answer: Result | FrameError) -> None:
        if output.for_people:
            table.add(file.path, answer)
        else:
            output.line(record(answer, path=file.path))

    with Interruption() as interruption, client_of(connection) as client:
        try:
            for file, answer in _answers(client, reading, options.settings, output, interruption):
                report(file, answer)
                if saver is not None and isinstance(answer, Result):
                    assert answer.frame is not None
                    assert isinstance(answer.frame.image, bytes)
                    try:
                        saver.save(answer.frame.image, answer, file.relative)
                    except NotDrawnError as error:
                        not_drawn += 1
                        output.say(f"{file.path} cannot be annotated: {error}")
        except DetectorError as error:
            raise of_service(error) from error
        finally:
            if table:
                output.show(table)
            if saver is not None and saver.written:
                output.tell(f"{saver.written} annotated in {options.save}")
    if reading.failed or not_drawn:
        parts = {"answered": reading.failed, "annotated": not_drawn}
        sentence = "; ".join(
            f"{count} of {len(files)} images could not be {what}"
            for what, count in parts.items()
            if count
        )
        raise Failure(sentence, ExitCode.FRAMES)


def _answers(
    client: DetectorClient,
    reading: "_Reading",
    settings: DetectionSettings,
    output: Output,
    interruption: Interruption,
) -> Iterator[tuple[ImageFile, Result | FrameError]]:
    """Give each image's answer, and those of the images that could not be read as they turn up."""
    with interruption.waiting():
        client.health()  # so that a service that is not there is said at once, and not waited for
    outages = Outages(output.say)
    stream = client.stream(reading.frames(), settings=settings, on_reconnect=outages.tell)
    outages.stream = stream
    active = output.may_draw and len(reading.files) >= _BAR_FROM
    display = Display(output.errors, active=active, unit="images", total=len(reading.files))
    with stream, display:
        for answer in interruption.over(stream):
            yield from reading.unread()
            assert answer.frame is not None
            display.report(answer, stream.summary.frames)
            reading.failed += isinstance(answer, FrameError)
            yield answer.frame.context, answer
    yield from reading.unread()


class _Reading:
    """Reads images as they are asked for; those that cannot be read are kept for the report."""

    def __init__(self, files: list[ImageFile]) -> None:
        self.files: Final = files
        self.failed = 0
        self._unread: Final[deque[tuple[ImageFile, FrameError]]] = deque()

    def frames(self) -> Iterator[Frame]:
        """Give the images as frames."""
        for file in self.files:
            try:
                content = _content(file.path)
            except OSError as error:
                cause = FrameError(f"cannot be read: {error.strerror}", reason="IMAGE_MISSING")
                self._unread.append((file, cause))
                continue
            if len(content) > _LARGEST:
                cause = FrameError("larger than 32 MiB", reason="FRAME_TOO_LARGE")
                self._unread.append((file, cause))
                continue
            yield Frame(content, frame_id=frame_id(file.path), context=file)

    def unread(self) -> Iterator[tuple[ImageFile, FrameError]]:
        """Give those that could not be read since the last call."""
        while self._unread:
            self.failed += 1
            yield self._unread.popleft()


def frame_id(path: str) -> str:
    """Return a path as a frame's id: text, and not longer than the contract allows."""
    return os.fsencode(path)[-_LONGEST_ID:].decode("utf-8", "ignore")


def _content(path: str) -> bytes:
    """Return what a file holds; of one that is too large, enough to see that it is."""
    # Not sys.stdin: a thread that waits for its buffer would trouble the interpreter's end.
    standard = path == images.STANDARD_INPUT
    content = bytearray()
    with FileIO(sys.stdin.fileno() if standard else path, closefd=not standard) as file:
        while len(content) <= _LARGEST and (chunk := file.read(_CHUNK)):
            content += chunk
    return bytes(content)
