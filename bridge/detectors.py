"""The detectors that the bridge may call: which of them serve, and which has the least to do."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bridge.access import read_tokens
from bridge.errors import BridgeError
from bridge.settings import Settings

_log = structlog.get_logger()

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["DetectorService"].full_name
_HEALTH: Final = health_pb2.HealthCheckRequest(service=_SERVICE)
_UNARY_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 2.0  # between two questions whether a detector still answers
_LOOK_AGAIN_SECONDS: Final = (0.1, 0.5)  # first and longest pause before a detector is tried again
_RECONNECT_MS: Final = (100, 500)  # first and longest pause between two attempts
_CONNECT_MS: Final = 5_000  # for one attempt
#: The detector permits a ping every 10 s, and gives more of them a GOAWAY.
_KEEPALIVE_MS: Final = 15_000
_KEEPALIVE_TIMEOUT_MS: Final = 5_000


def being_cancelled() -> bool:
    """Return whether the current task is; grpc.aio raises CancelledError where the other side cancels, too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class NoDetectorError(BridgeError):
    """No detector answers."""


class DetectorLink:
    """One detector: its channel, and what is known of it.

    Attributes:
        address: host and port.
        service: the calls of the contract.
        stream_detections: StreamDetections, of requests that are serialised already: see `wire`.
        serving: whether it said so when it was last heard of.
        heard: whether it has answered, or could not be reached, at least once.
        streams: open from this process.
    """

    def __init__(self, address: str, channel: grpc.aio.Channel, metadata: Any) -> None:
        self.address: Final = address
        self.service: Final[detector_pb2_grpc.DetectorServiceAsyncStub] = (
            detector_pb2_grpc.DetectorServiceStub(channel)
        )
        self.stream_detections: Final[Any] = channel.stream_stream(
            f"/{_SERVICE}/StreamDetections",
            response_deserializer=pb.StreamDetectionsResponse.FromString,
        )
        self.metadata: Final = metadata
        self.serving = False
        self.heard = False
        self.streams = 0
        self.channel: Final = channel
        self.health: Final = health_pb2_grpc.HealthStub(channel)


class Detectors:
    """All detectors; used in this order: `start`, `close`."""

    def __init__(self, settings: Settings) -> None:
        """Make the channels; nothing is connected yet.

        Raises:
            ConfigurationError: the token or the certificates cannot be read.
        """
        metadata = _metadata(settings)
        self.links: Final = [
            DetectorLink(address, _channel(address, settings), metadata)
            for address in settings.detector_addresses
        ]
        self._changed: Final = asyncio.Condition()
        self._watches: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow their health."""
        self._watches = [asyncio.create_task(self._watch(link)) for link in self.links]

    async def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for link in self.links:
            await link.channel.close()

    def choose(self, avoid: DetectorLink | None = None) -> DetectorLink | None:
        """Return the detector with the fewest streams of those that serve; None where none does.

        Args:
            avoid: one that has just failed, whatever it says of itself.
        """
        serving = [link for link in self.links if link.serving and link is not avoid]
        # By chance among equals, so that many bridges do not all begin with the first.
        return min(serving, key=lambda link: (link.streams, random.random()), default=None)  # noqa: S311

    async def wait_serving(self) -> None:
        """Wait until a detector serves."""
        await self._wait(lambda: any(link.serving for link in self.links))

    async def wait_heard(self) -> None:
        """Wait until one serves, or all have been tried: before that, nothing can be said."""
        await self._wait(
            lambda: (
                any(link.serving for link in self.links) or all(link.heard for link in self.links)
            )
        )

    async def wait_link(self, link: DetectorLink) -> None:
        """Wait until this detector serves."""
        await self._wait(lambda: link.serving)

    async def model_info(self) -> pb.GetModelInfoResponse:
        """Ask one that serves which models it has.

        Raises:
            NoDetectorError: none answers.
        """
        link = self.choose()
        if link is None:
            raise NoDetectorError(self.unavailable())
        try:
            return await link.service.GetModelInfo(
                pb.GetModelInfoRequest(), metadata=link.metadata, timeout=_UNARY_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise NoDetectorError(
                f"{link.address} answers {error.code().name}: {error.details()}"
            ) from error

    async def stats(self) -> Sequence[pb.GetStatsResponse]:
        """Ask all that serve what they have done; who does not answer is left out.

        Raises:
            NoDetectorError: none answers.
        """
        answers = await asyncio.gather(
            *(
                link.service.GetStats(
                    pb.GetStatsRequest(), metadata=link.metadata, timeout=_UNARY_SECONDS
                )
                for link in self.links
                if link.serving
            ),
            return_exceptions=True,
        )
        given = [answer for answer in answers if isinstance(answer, pb.GetStatsResponse)]
        if not given:
            raise NoDetectorError(self.unavailable())
        return given

    async def report_alert(self, alert: pb.Alert) -> None:
        """Have an alert join the others; a detector that cannot take it yet is passed over in silence."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNARY_SECONDS):
                await self.wait_serving()
        link = self.choose()
        if link is None:
            return
        try:
            await link.service.ReportAlert(
                pb.ReportAlertRequest(alert=alert), metadata=link.metadata, timeout=_UNARY_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                _log.warning(
                    "alert.not_reported",
                    detector=link.address,
                    reason=error.details(),
                    message="the detector did not take an alert of the bridge's, which nobody will see; its own log says why",
                )

    def unavailable(self) -> str:
        """Say that none serves, and what to do about it."""
        addresses = ", ".join(link.address for link in self.links)
        return (
            f"no detector serves at {addresses}; frames are taken again by themselves once one does. Is "
            "it running, has it loaded its models, and is DETECTOR_ADDRESS right?"
        )

    async def _wait(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _watch(self, link: DetectorLink) -> None:
        """Follow a detector's health for as long as the bridge lives."""
        first, longest = _LOOK_AGAIN_SECONDS
        pause = first
        while True:
            reason = "its health can no longer be watched"
            watch = link.health.Watch(_HEALTH, metadata=link.metadata)
            silence = asyncio.create_task(_end_where_silent(link, watch))
            try:
                async for answer in watch:
                    pause = first
                    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                    await self._learn(link, serving=serving, reason="it says so")
            except grpc.aio.AioRpcError as error:
                reason = error.details() or error.code().name
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
                if silence.done():
                    reason = "it does not answer"
            finally:
                silence.cancel()
            await self._learn(link, serving=False, reason=reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _learn(self, link: DetectorLink, *, serving: bool, reason: str) -> None:
        if serving != link.serving or not link.heard:
            event = "detector.serving" if serving else "detector.not_serving"
            _log.info(event, detector=link.address, reason=reason)
        async with self._changed:
            link.serving, link.heard = serving, True
            self._changed.notify_all()


async def _end_where_silent(link: DetectorLink, watch: Any) -> None:
    """End the watch of a detector that does not answer: it keeps its connection, and says nothing, where it hangs."""
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            await link.health.Check(_HEALTH, metadata=link.metadata, timeout=_UNARY_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                watch.cancel()
                return


def _channel(address: str, settings: Settings) -> grpc.aio.Channel:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # gRPC's own would be a second, growing to two minutes.
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS[1]),
        # Despite its name, what an attempt may take; that of the pauses is too little for one.
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
        # A detector whose machine vanished is found by pings that it does not answer.
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # Two links to one address, in one process, must not share a connection's fate.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not settings.speaks_tls_to_detector:
        return grpc.aio.insecure_channel(address, options)
    authority, key, certificate = (
        path.read_bytes() if path is not None else None
        for path in (
            settings.detector_ca_file,
            settings.detector_key_file,
            settings.detector_cert_file,
        )
    )
    if settings.detector_server_name:
        options.append(("grpc.ssl_target_name_override", settings.detector_server_name))
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    return grpc.aio.secure_channel(address, credentials, options)


def _metadata(settings: Settings) -> tuple[tuple[str, str], ...]:
    path = settings.detector_token_file
    if path is None:
        return ()
    return (("authorization", f"Bearer {read_tokens(path, 'DETECTOR_TOKEN_FILE')[0]}"),)
