"""``detector stream``: looks at a video, a camera, an address or the screen."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from av.video.reformatter import VideoReformatter

from crowd_detector import (
    DetectionSettings,
    DetectorError,
    Frame,
    FrameError,
    Result,
    Stream,
    WhenFull,
)
from crowd_detector.cli.annotate import annotated
from crowd_detector.cli.chart import clock
from crowd_detector.cli.connecting import Outages, client_of
from crowd_detector.cli.display import Display
from crowd_detector.cli.encoding import Encoder, to_image
from crowd_detector.cli.encoding_names import Encoding
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_service
from crowd_detector.cli.interruption import Interruption
from crowd_detector.cli.options import Connection
from crowd_detector.cli.output import Output, record
from crowd_detector.cli.reader import Picture, Reader, sampled
from crowd_detector.cli.sources import Source, parse
from crowd_detector.cli.tables import summary_sentence
from crowd_detector.cli.video import VideoWriter

_IN_FLIGHT: Final = 8  # pictures between the video and the answer
_IN_FLIGHT_LARGE: Final = 3  # of 4K, each is some 25 MB as it was read and as it is sent


@dataclass(frozen=True, slots=True)
class Options:
    """What is looked at, and what becomes of it."""

    source: str
    settings: DetectionSettings
    save: Path | None
    as_json: bool
    watch: bool
    max_fps: float
    encoding: Encoding
    priority: int
    max_age: float | None  # seconds


def run(connection: Connection, options: Options) -> None:
    """Look at a video until it ends, report each frame, and save what shall be saved.

    Raises:
        Failure: it did not come to its end, or not all could be done.
    """
    output = Output(as_json=options.as_json)
    if options.watch and not output.may_draw:
        raise Failure(
            "--watch draws on a terminal; the standard error is none, or JSON lines go there too",
            ExitCode.USAGE,
        )
    source = parse(options.source, os.environ)
    with Interruption() as interruption, client_of(connection) as client, ExitStack() as opened:
        reader = interruption.opening(lambda: Reader(source))
        save = None if options.save is None else target(options.save, source, live=reader.live)
        recording = opened.enter_context(Recording(save))
        try:
            with interruption.waiting():
                client.health()  # a service that is not there is said at once, and not waited for
            outages = Outages(output.say)
            stream = client.stream(
                _frames(reader, options.max_fps, Encoder(options.encoding, connection.server)),
                camera=source.name,
                settings=options.settings,
                priority=options.priority,
                max_age=options.max_age,
                when_full=WhenFull.NEWEST if reader.live else WhenFull.WAIT,
                max_in_flight=_IN_FLIGHT_LARGE if reader.large else _IN_FLIGHT,
                on_reconnect=outages.tell,
            )
            outages.stream = stream
            display = Display(
                output.errors,
                active=output.may_draw,
                unit="frames",
                total=reader.duration,
                watch=options.watch,
            )
            _report(stream, interruption, output, display, recording)
        except DetectorError as error:
            raise of_service(error) from error


def target(folder: Path, source: Source, *, live: bool) -> Path:
    """Return where the annotated video goes: what is live gets a new name each time.

    Besides walk.mkv may lie a walk.mp4 of quite another walk: hence "-annotated".

    Raises:
        Failure: it would replace the video that is looked at.
    """
    suffix = f"-{datetime.now().astimezone():%Y%m%d-%H%M%S}" if live else "-annotated"
    path = folder / f"{source.name}{suffix}.mp4"
    if path.exists() and Path(source.shown).exists() and path.samefile(source.shown):
        raise Failure(
            f"{path} would be replaced by its annotated video; save to another folder",
            ExitCode.USAGE,
        )
    return path


class Recording:
    """The annotated video, if one is wanted."""

    def __init__(self, path: Path | None) -> None:
        self._path: Final = path
        self._writer: Final = None if path is None else VideoWriter(path)
        self._reformatter: Final = VideoReformatter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, answer: Result | FrameError, picture: Picture) -> None:
        """Add a picture, with what was found drawn into it; as it is where it was not answered."""
        if self._writer is None:
            return
        image = to_image(picture.frame, self._reformatter)
        if isinstance(answer, Result):
            image = annotated(image, answer, f"frame {picture.number}  {clock(picture.time)}")
        self._writer.write(image, picture.pts, picture.time_base, picture.aspect)

    def close(self) -> str:
        """Finish the file; return what there is to say of it."""
        if self._writer is None:
            return ""
        self._writer.close()
        return f"; annotated in {self._path}" if self._writer.written else ""


def _frames(reader: Reader, max_fps: float, encoder: Encoder) -> Iterator[Frame]:
    for picture in sampled(reader.pictures(), max_fps):
        yield Frame(
            encoder(picture.frame),
            frame_id=str(picture.number),
            capture_time=datetime.now(UTC) if reader.live else None,
            context=picture,
        )


def _report(
    stream: Stream,
    interruption: Interruption,
    output: Output,
    display: Display,
    recording: Recording,
) -> None:
    began = time.monotonic()
    first_error: FrameError | None = None
    try:
        with stream, display:
            for answer in interruption.over(stream):
                assert answer.frame is not None
                picture: Picture = answer.frame.context
                if isinstance(answer, FrameError):
                    first_error = first_error or answer
                if not output.for_people:
                    output.line(record(answer, pts=round(picture.time, 6)))
                recording.add(answer, picture)
                display.report(answer, picture.time)
    finally:
        saved = recording.close()
        summary = stream.summary
        if summary.results or summary.errors or summary.dropped:
            output.tell(summary_sentence(summary, time.monotonic() - began) + saved)
    if first_error is not None:
        raise Failure(
            f"{stream.summary.errors} frames could not be answered, the first because {first_error}",
            ExitCode.FRAMES,
        )
