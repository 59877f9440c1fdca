"""The stream for callers without an event loop."""

from types import TracebackType
from typing import Final, Self

from crowd_detector._portal import Portal
from crowd_detector.async_stream import AsyncStream
from crowd_detector.errors import FrameError
from crowd_detector.frames import DetectionSettings
from crowd_detector.results import Result, StreamSummary

__all__ = ["Stream"]


class Stream:
    """The answers of one stream, in the order of its frames; made by `DetectorClient.stream`.

    Iterating gives a `Result` or a `FrameError` for each frame that was not dropped. To leave early, use it
    in ``with``, or call `close`: what is under way is given up.

    Example:
        >>> with DetectorClient(address) as client:
        ...     with client.stream(["models/astronaut.jpg"]) as stream:
        ...         for result in stream:
        ...             print(result.crowd.level.value)
        low
    """

    def __init__(self, stream: AsyncStream, portal: Portal) -> None:
        self._stream: Final = stream
        self._portal: Final = portal

    @property
    def summary(self) -> StreamSummary:
        """What became of the frames so far.

        Example:
            >>> with DetectorClient(address) as client:
            ...     stream = client.stream(["models/astronaut.jpg"])
            ...     results = list(stream)
            >>> stream.summary.results
            1
        """
        return self._stream.summary

    def configure(
        self,
        *,
        settings: DetectionSettings | None = None,
        max_frame_rate: float | None = None,
        priority: int | None = None,
        max_age: float | None = None,
    ) -> None:
        """Change what applies to the frames that are sent from now on, after reconnections too.

        Args:
            settings: those that are None in it are the service's own again; None changes nothing.
            max_frame_rate: frames a second; 0 means no limit of ours; None changes nothing.
            priority: the stream's share of the service; 0 means 10; None changes nothing.
            max_age: seconds; 0 means that answers come however late; None changes nothing.

        Example:
            >>> with DetectorClient(address) as client:
            ...     with client.stream(["models/astronaut.jpg"]) as stream:
            ...         stream.configure(settings=DetectionSettings(confidence_threshold=1.0))
            ...         print(next(stream).crowd.total_people)
            0
        """

        async def configure() -> None:
            self._stream.configure(
                settings=settings,
                max_frame_rate=max_frame_rate,
                priority=priority,
                max_age=max_age,
            )

        if not self._portal.is_closed:
            self._portal.run(configure())

    def close(self) -> None:
        """Give up what is under way, and let go of the frames' source; may be called twice.

        Example:
            >>> with DetectorClient(address) as client:
            ...     stream = client.stream(["models/astronaut.jpg"] * 100)
            ...     first = next(stream)
            ...     stream.close()
            >>> first.sequence
            1
        """
        if not self._portal.is_closed:  # or it was closed with the client
            self._portal.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result | FrameError:
        if self._portal.is_closed:
            raise StopIteration
        try:
            return self._portal.run(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
