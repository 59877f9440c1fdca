"""Reads a video: upright pictures, each with its time, as long as there are any."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.error import FFmpegError
from av.stream import Disposition

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.orientation import Upright
from crowd_detector.cli.sources import Source
from crowd_detector.cli.timeline import Timeline

_OPEN_SECONDS: Final = 10.0
_READ_SECONDS: Final = 10.0
_NO_TIMESTAMPS: Final = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS
_LARGE_PIXELS: Final = 1920 * 1088
_EARLY_SECONDS: Final = 1.0  # by which a video may end before its announced end


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a video, upright."""

    frame: av.VideoFrame
    number: int  # from 1
    pts: int  # in units of time_base, from the first picture on; always rising
    time_base: Fraction
    aspect: Fraction = Fraction(1)  # of its pixels: width by height

    @property
    def time(self) -> float:
        """Seconds since the first picture."""
        return float(self.pts * self.time_base)


class Reader:
    """A video that was opened; what is wrong with it is known before the first picture."""

    def __init__(self, source: Source) -> None:
        """Open it.

        Raises:
            Failure: it cannot be opened, or holds no video.
        """
        self._source: Final = source
        self._given_name: Final = source.shown
        try:
            self._container: Final = av.open(
                source.url,
                format=source.format,
                options=dict(source.options),
                timeout=(_OPEN_SECONDS, _READ_SECONDS),
            )
        except (FFmpegError, OSError) as error:
            raise self._failure("cannot be opened as a video", error) from error
        moving = [each for each in self._container.streams.video if not _is_cover(each)]
        if not moving:
            found = {
                "a cover" if each.type == "video" else each.type for each in self._container.streams
            }
            kinds = ", ".join(sorted(found))
            raise Failure(
                f"{self._given_name} holds no video, only {kinds or 'nothing'}", ExitCode.SOURCE
            )
        self._stream: Final = moving[0]
        self._stream.thread_type = "AUTO"
        length = self._container.duration
        self.duration: Final = None if not length or length < 0 else length / av.time_base
        recorded = self.duration is not None or self._container.size > 0
        self.live: Final = source.live or (source.maybe_live and not recorded)
        #: Whether few of its pictures fill the memory.
        self.large: Final = self._stream.width * self._stream.height > _LARGE_PIXELS
        self._damaged = 0  # packets
        self._end = 0.0  # of what was read, in seconds

    def pictures(self) -> Iterator[Picture]:
        """Give the pictures one by one; the video is closed when they end or are closed.

        Raises:
            Failure: after the last picture there is, if the video is broken or a camera was lost.
        """
        upright = Upright()
        # Where a container knows no times, FFmpeg takes 25 pictures a second for granted.
        timeless = bool(self._container.format.flags & _NO_TIMESTAMPS)
        timeline = Timeline(by_clock=self.live and timeless)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        number = 0
        with self._container:
            for number, frame in enumerate(self._frames(), 1):
                pts, base = timeline.place(frame.pts, frame.time_base)
                self._end = float(pts * base)
                picture = upright(frame)
                shape = 1 / aspect if upright.quarter_turned else aspect
                yield Picture(picture, number, pts, base, shape)
        self._check_end(number)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decode; what cannot be decoded is counted and passed over."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self._damaged += 1
                return
            except (FFmpegError, OSError) as error:
                raise self._lost(error) from error
            self._damaged += packet.is_corrupt
            try:
                frames = packet.decode()
            except FFmpegError:
                self._damaged += not packet.is_corrupt
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                yield frame

    def _check_end(self, number: int) -> None:
        if self.live:
            raise self._lost()
        if number == 0:
            raise Failure(
                f"{self._given_name} holds no picture that can be decoded", ExitCode.SOURCE
            )
        announced = _announced_seconds(self._stream)
        if self._damaged or (announced is not None and self._end + _EARLY_SECONDS < announced):
            raise Failure(
                f"{self._given_name} is broken or cut off; {number} pictures could be read",
                ExitCode.SOURCE,
            )

    def _lost(self, error: Exception | None = None) -> Failure:
        if not self.live and error is not None:
            return self._failure("cannot be read to its end", error)
        return Failure(
            f"{self._given_name} gives no more pictures; was it unplugged or switched off?",
            ExitCode.SOURCE,
        )

    def _failure(self, what: str, error: Exception) -> Failure:
        cause = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ExitError):  # FFmpeg's word for a time-out of ours
            cause = f"no answer in {_READ_SECONDS:.0f} seconds"
        return Failure(
            f"{self._given_name} {what}: {cause[:1].lower()}{cause[1:]}", ExitCode.SOURCE
        )


def sampled(pictures: Iterator[Picture], max_fps: float) -> Iterator[Picture]:
    """Give only so many pictures a second of the video's own time; all where max_fps is 0."""
    due = 0.0
    for picture in pictures:
        if max_fps and picture.time + 1e-9 < due:
            continue
        if max_fps:
            due = max(due + 1 / max_fps, picture.time)
        yield picture


def _is_cover(stream: av.VideoStream) -> bool:
    """Return whether it is the picture on a record, not a video."""
    return bool(stream.disposition & Disposition.attached_pic)


def _announced_seconds(stream: av.VideoStream) -> float | None:
    """Return how long the video says it is, where that does not depend on what is left of the file."""
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's tag: 00:00:10.000000000
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
