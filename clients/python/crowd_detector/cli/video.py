"""Writes an annotated video that stays readable whatever happens: kill -9, a full disk, a lost power line."""

import os
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file
from crowd_detector.cli.sources import FILE

#: Written in fragments, each complete in itself; an ordinary MP4 once it is closed in good order.
_CONTAINER: Final = {
    "movflags": "hybrid_fragmented",
    "frag_duration": "1000000",  # microseconds: what is lost at worst
    "flush_packets": "1",
}
#: Without B-frames, pictures are stored in the order they are shown, with their own times.
#: Without a look ahead (zerolatency), no picture waits in the encoder where a kill would lose it.
_H264: Final = {"preset": "veryfast", "crf": "23", "bf": "0", "tune": "zerolatency"}
#: The finest that MPEG-4 part 2 knows, near enough.
_MPEG4_CLOCK: Final = Fraction(1, 60_000)
#: FFmpeg's number, of primaries and of the curve; the matrix has the same.
_BT709: Final = 1
_SQUARE: Final = Fraction(1)
_BOX: Final = struct.Struct(">I4s")
_LONG_SIZE: Final = struct.Struct(">Q")


class VideoWriter:
    """One video file; its size and clock are those of the first picture."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._reformatter: Final = VideoReformatter()
        self._last = -1
        self.written = 0

    def write(
        self, picture: Image.Image, pts: int, time_base: Fraction, aspect: Fraction = _SQUARE
    ) -> None:
        """Add a picture.

        Args:
            picture: of any size; it is scaled to the first one's.
            pts: when it is shown.
            time_base: the unit of that.
            aspect: of the first one's pixels, width by height.

        Raises:
            Failure: the file cannot be written; what is in it already can be read.
        """
        try:
            if self._stream is None:
                self._open(picture.size, time_base, aspect)
            assert self._stream is not None
            frame = self._reformatter.reformat(
                av.VideoFrame.from_image(picture),  # type: ignore[no-untyped-call]
                width=self._stream.width,
                height=self._stream.height,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.time_base = self._stream.codec_context.time_base
            frame.pts = max(round(pts * time_base / frame.time_base), self._last + 1)
            self._last = frame.pts
            self._mux(frame)
        except (FFmpegError, OSError) as error:
            raise self._broken(error) from error
        self.written += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            Failure: the file cannot be written to its end; what is in it already can be read.
        """
        if self._container is None:
            return
        try:
            self._mux(None)
            self._container.close()
        except (FFmpegError, OSError) as error:
            raise self._broken(error) from error
        finally:
            self._container = None

    def _open(self, size: tuple[int, int], time_base: Fraction, aspect: Fraction) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(FILE + str(self._path), "w", format="mp4", options=_CONTAINER)
        has_x264 = "libx264" in av.codecs_available
        stream = self._container.add_stream(
            "libx264" if has_x264 else "mpeg4", options=_H264 if has_x264 else {"qscale": "4"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = even(size[0]), even(size[1])
        stream.pix_fmt = "yuv420p"
        clock = time_base if has_x264 else max(time_base, _MPEG4_CLOCK)
        stream.codec_context.time_base = stream.time_base = clock
        stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        stream.codec_context.color_range = ColorRange.MPEG
        self._stream = stream

    def _mux(self, frame: av.VideoFrame | None) -> None:
        assert self._container is not None
        assert self._stream is not None
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _broken(self, error: FFmpegError | OSError) -> Failure:
        container, self._container = self._container, None
        if container is not None:
            with suppress(FFmpegError, OSError):  # the same once more
                container.close()
            os.truncate(self._path, complete_length(self._path))
        return Failure(of_file(error, self._path), ExitCode.OUTPUT)


def even(length: int) -> int:
    """Return the nearest length not above it that H.264's halved colours allow."""
    return max(2, length - length % 2)


def complete_length(path: Path) -> int:
    """Return how many bytes of an MP4 hold whole boxes, and no fragment without its data."""
    end, complete, size = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while (box := _next_box(file.read(16))) is not None and end + box[0] <= size:
            end += box[0]
            complete = complete if box[1] == b"moof" else end  # useless without what follows it
            file.seek(end)
    return complete


def _next_box(header: bytes) -> tuple[int, bytes] | None:
    if len(header) < _BOX.size:
        return None
    size, kind = _BOX.unpack_from(header)
    if size == 1 and len(header) >= _BOX.size + _LONG_SIZE.size:
        (size,) = _LONG_SIZE.unpack_from(header, _BOX.size)
    return (size, kind) if size >= _BOX.size else None
