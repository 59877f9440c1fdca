"""The client for callers without an event loop."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from crowd_detector._connection import Tls
from crowd_detector._flow import WhenFull
from crowd_detector._portal import Portal
from crowd_detector._sources import Frames
from crowd_detector.async_client import AsyncDetectorClient
from crowd_detector.errors import DetectorError, FrameError
from crowd_detector.frames import DetectionSettings, ImageSource
from crowd_detector.results import Models, Result, Stats
from crowd_detector.stream import Stream

__all__ = ["DetectorClient"]


class DetectorClient:
    """One connection to a detector; to be used in ``with``.

    It is an `AsyncDetectorClient` with an event loop in a thread of its own, which ends with it; several
    threads may share it. Every method raises a `DetectorError`, and nothing else, where the service refuses,
    fails or cannot be reached.

    Example:
        >>> with DetectorClient(address) as client:
        ...     result = client.detect("models/astronaut.jpg")
        >>> result.crowd.face_count >= 1
        True
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        token: str = "",
        tls: Tls | None = None,
        timeout: float = 30.0,
    ) -> None:
        """Make a client.

        Args:
            address: ``host:port``.
            token: a bearer token, where the service asks for one.
            tls: how to speak TLS; None for plain text.
            timeout: seconds that each call may take, unless it says otherwise; streams have their own.

        Raises:
            ValueError: the address, or a file that `tls` names, is not what it should be.
            OSError: such a file cannot be read.
        """
        self._client: Final = AsyncDetectorClient(address, token=token, tls=tls, timeout=timeout)
        self._portal: Final = Portal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and end the thread; streams and calls under way end. May be called twice.

        Example:
            >>> client = DetectorClient(address)
            >>> client.health()
            True
            >>> client.close()
        """
        self._portal.close(self._client.aclose)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the service can be reached and has loaded its models.

        Args:
            timeout: seconds.

        Raises:
            AnswerTimeoutError: that took longer; the text says what was missing.

        Example:
            >>> with DetectorClient(address) as client:
            ...     client.wait_until_ready()
        """
        self._portal.run(self._client.wait_until_ready(timeout))

    def health(self) -> bool:
        """Return whether the service says that it serves; it does not while it loads or goes down.

        Example:
            >>> with DetectorClient(address) as client:
            ...     client.health()
            True
        """
        return self._portal.run(self._client.health())

    def detect(
        self,
        image: ImageSource,
        *,
        settings: DetectionSettings | None = None,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> Result:
        """Look at one image.

        Args:
            image: the bytes of a JPEG, PNG or WebP file, its path, a `RawImage` or a `Frame`.
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            timeout: seconds; None: the client's.
            traceparent: the span that the service's own shall belong to, as W3C Trace Context writes it; a
                `Frame`'s own comes first.
            tracestate: likewise, what goes along with it.

        Raises:
            FrameError: the image cannot be looked at.
            DetectorError: the service refuses, fails or cannot be reached.
            OSError: the file cannot be read.

        Example:
            >>> with DetectorClient(address) as client:
            ...     result = client.detect("models/astronaut.jpg")
            >>> result.bodies[0].confidence > 0.5
            True
        """
        return self._portal.run(
            self._client.detect(
                image,
                settings=settings,
                timeout=timeout,
                traceparent=traceparent,
                tracestate=tracestate,
            )
        )

    def detect_batch(
        self,
        images: Iterable[ImageSource],
        *,
        settings: DetectionSettings | None = None,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> list[Result | FrameError]:
        """Look at several images in one call; all are held in memory.

        Args:
            images: as many as the service accepts in a call (32, unless its operator chose otherwise).
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            timeout: seconds; None: the client's.
            traceparent: the span that the service's own shall belong to, as W3C Trace Context writes it; a
                `Frame`'s own comes first.
            tracestate: likewise, what goes along with it.

        Returns:
            What became of each, in their order.

        Raises:
            DetectorError: the service refuses, fails or cannot be reached.
            OSError: a file cannot be read.

        Example:
            >>> with DetectorClient(address) as client:
            ...     found, refused = client.detect_batch(["models/astronaut.jpg", b"no image"])
            >>> found.crowd.level.value, refused.reason
            ('low', 'UNSUPPORTED_IMAGE')
        """
        return self._portal.run(
            self._client.detect_batch(
                images,
                settings=settings,
                timeout=timeout,
                traceparent=traceparent,
                tracestate=tracestate,
            )
        )

    def stream(
        self,
        frames: Frames,
        *,
        camera: str = "",
        settings: DetectionSettings | None = None,
        max_frame_rate: float = 0.0,
        priority: int = 0,
        max_age: float | None = None,
        max_in_flight: int = 8,
        when_full: WhenFull | str = WhenFull.WAIT,
        answer_timeout: float = 30.0,
        reconnect_timeout: float | None = 60.0,
        on_reconnect: Callable[[DetectorError, float], None] | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> Stream:
        """Send a camera's frames as they come, and get their answers in the same order.

        A connection that is lost is made again, with back-off and jitter, and told the settings again; so is
        one that the service refuses for now. A service that cannot be reached at the very first is an
        error at once: if it may still be starting, call `wait_until_ready` before.

        Args:
            frames: images in any form that `detect` takes, from an iterable, which may block and is read in
                a thread of its own, or from an asynchronous one, which is read in the client's. What it
                raises is raised here, after the answers to the frames before.
            camera: the name of frames that carry none.
            settings: what shall differ from the service's own; a `Frame`'s own come first.
            max_frame_rate: frames a second that are sent at most; 0: only the service's own limit. Frames
                that the network brings too close together are dropped by the service, and counted.
            priority: the stream's share of the service, 1 to 100; 0 means 10. While more frames come than can be
                served, a stream of priority 20 gets twice the time of one of 10.
            max_age: seconds; the service drops, and counts, a frame whose answer would be ready later than this
                after its arrival there. None: it answers however late.
            max_in_flight: frames that may be on their way, or answered and not yet taken, 1 to 32. Besides
                these, one waits and one is in the hand of the source: no more are held.
            when_full: what happens when as many are in flight. ``"wait"``: the source waits, every frame is
                answered (unless it broke a frame rate, or would be late), and after a lost connection those in flight are
                sent again. ``"newest"``: the newest frame takes the place of the one that waits, and
                those in flight at a loss are dropped.
            answer_timeout: seconds without news of any frame, while frames are on their way, after which the
                connection counts as lost.
            reconnect_timeout: seconds after which a lost connection is given up; None: never.
            on_reconnect: told of each lost connection: why, and after how many seconds it is tried again.
                Called in the client's own thread, from which the client cannot be called.
            traceparent: the span that the service's own of the stream shall belong to, as W3C Trace Context
                writes it; each `Frame` has its own.
            tracestate: likewise, what goes along with it.

        Returns:
            A stream to be iterated once; nothing is sent before.

        Raises:
            ValueError: an argument is not what it should be.

        Example:
            >>> photo = pathlib.Path("models/astronaut.jpg").read_bytes()
            >>> frames = (Frame(photo, frame_id=str(number)) for number in range(3))
            >>> with DetectorClient(address) as client:
            ...     [result.frame_id for result in client.stream(frames, camera="door")]
            ['0', '1', '2']
        """
        stream = self._client.stream(
            frames,
            camera=camera,
            settings=settings,
            max_frame_rate=max_frame_rate,
            priority=priority,
            max_age=max_age,
            max_in_flight=max_in_flight,
            when_full=when_full,
            answer_timeout=answer_timeout,
            reconnect_timeout=reconnect_timeout,
            on_reconnect=on_reconnect,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        return Stream(stream, self._portal)

    def models(self) -> Models:
        """Return which models serve.

        Example:
            >>> with DetectorClient(address) as client:
            ...     client.models().body.counted_classes
            ('person',)
        """
        return self._portal.run(self._client.models())

    def reload_models(self, timeout: float = 600.0) -> Models:
        """Have the service load its models' files anew; return those that serve from then on.

        Needs a token of the service's ADMIN_TOKENS_FILE. It goes on where its caller gives up.

        Args:
            timeout: seconds; weights that are exported first take a while.

        Raises:
            ServiceError: the new models cannot serve (``reason`` is ``"RELOAD_FAILED"``); those from before do.

        Example:
            >>> with DetectorClient(address, token=admin_token) as client:
            ...     client.reload_models().face.loaded
            True
        """
        return self._portal.run(self._client.reload_models(timeout))

    def stats(self) -> Stats:
        """Return what the service has done since it started.

        Example:
            >>> with DetectorClient(address) as client:
            ...     client.stats().uptime > 0
            True
        """
        return self._portal.run(self._client.stats())
