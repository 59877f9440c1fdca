"""An asyncio client, as thin as the contract allows."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Final, Self

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from crowd.detector.v1 import detector_pb2_grpc

_UNLIMITED: Final = -1
_RETRY_SECONDS: Final = 0.1


class DetectorClient:
    """One connection to a detector; to be used in ``async with``.

    Every call raises ``grpc.aio.AioRpcError`` where the service refuses it or cannot be reached.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
    ) -> None:
        """Make a client; the connection is opened by its first call.

        Args:
            address: host and port.
            credentials: for TLS, as ``grpc.ssl_channel_credentials`` makes them; None for plain text.
            token: a bearer token, where the service asks for one.
        """
        options = [
            ("grpc.max_receive_message_length", _UNLIMITED),
            ("grpc.max_send_message_length", _UNLIMITED),
        ]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options)
        self._metadata: Final = (("authorization", f"Bearer {token}"),) if token else ()
        self._service: Final = detector_pb2_grpc.DetectorServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way end with CANCELLED."""
        await self._channel.close()

    async def wait_until_ready(self, seconds: float) -> pb.GetModelInfoResponse:
        """Wait until the service can be reached and has loaded its models.

        Raises:
            TimeoutError: that took longer.
        """
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await self.model_info()
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def detect(
        self, image: bytes, *, settings: pb.DetectionSettings | None = None
    ) -> pb.FrameResult:
        """Look at one image.

        Args:
            image: a JPEG, PNG or WebP file.
            settings: what shall differ from the service's own.
        """
        request = pb.DetectRequest(frame=pb.Frame(encoded=image, settings=settings))
        return (await self._service.Detect(request, metadata=self._metadata)).result

    async def stream(
        self, frames: AsyncIterable[pb.Frame], config: pb.StreamConfig | None = None
    ) -> AsyncIterator[pb.StreamDetectionsResponse]:
        """Send frames as they come, and give answers as they come.

        Args:
            frames: of one camera.
            config: how to serve them.
        """
        ended = False

        async def requests() -> AsyncIterator[pb.StreamDetectionsRequest]:
            if config is not None:
                yield pb.StreamDetectionsRequest(config=config)
            async for frame in frames:
                if ended:
                    return
                yield pb.StreamDetectionsRequest(frame=frame)

        call = self._service.StreamDetections(requests(), metadata=self._metadata)
        try:
            async for response in call:
                # After its summary the service takes no more frames, and grpc.aio would report one
                # that cannot be sent in place of the reason for the end.
                ended = response.HasField("summary")
                yield response
        finally:
            call.cancel()

    async def model_info(self) -> pb.GetModelInfoResponse:
        """Ask which models serve."""
        return await self._service.GetModelInfo(pb.GetModelInfoRequest(), metadata=self._metadata)

    async def stats(self) -> pb.GetStatsResponse:
        """Ask what the service has done since it started."""
        return await self._service.GetStats(pb.GetStatsRequest(), metadata=self._metadata)
