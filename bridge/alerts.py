"""Alerts of the detectors, on their way to a client that subscribed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from websockets.exceptions import ConnectionClosed

from bridge.detectors import DetectorLink, Detectors, being_cancelled

_PAUSE_SECONDS: Final = 1.0

Take: TypeAlias = Callable[[pb.Alert], Awaitable[None]]


class AlertsNotGivenError(Exception):
    """A detector does not give alerts; the text says which and why."""


class Subscription:
    """One client's; at most one at a time."""

    def __init__(
        self, detectors: Detectors, take: Take, refuse: Callable[[str], Awaitable[None]]
    ) -> None:
        """Make it; nothing is subscribed yet.

        Args:
            detectors: each has alerts of its own, and all are watched.
            take: is given each alert.
            refuse: is told, with the reason, where a detector does not give alerts; the subscription has ended then.
        """
        self._detectors: Final = detectors
        self._take: Final = take
        self._refuse: Final = refuse
        self._watching: asyncio.Task[None] | None = None
        self._active = False

    @property
    def active(self) -> bool:
        """Whether the client has subscribed, and no detector has refused."""
        return self._active

    async def begin(self, cameras: Sequence[str]) -> None:
        """Hand on alerts from here on, in place of an earlier subscription.

        Args:
            cameras: whose; none means all.
        """
        await self.end()
        self._active = True
        self._watching = asyncio.create_task(self._watch(cameras))

    async def end(self) -> None:
        """Hand on no more."""
        self._active = False
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None

    async def _watch(self, cameras: Sequence[str]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for link in self._detectors.links:
                    group.create_task(self._watch_one(link, cameras))
        except* AlertsNotGivenError as errors:
            self._active = False
            await self._refuse(str(errors.exceptions[0]))
        except* ConnectionClosed:
            pass

    async def _watch_one(self, link: DetectorLink, cameras: Sequence[str]) -> None:
        """Hand on a detector's alerts; one that goes away is watched again once it is back."""
        while True:
            await self._detectors.wait_link(link)
            try:
                call = link.service.WatchAlerts(
                    pb.WatchAlertsRequest(cameras=cameras), metadata=link.metadata
                )
                async for response in call:
                    await self._take(response.alert)
            except grpc.aio.AioRpcError as error:
                if error.code() in (
                    grpc.StatusCode.UNIMPLEMENTED,
                    grpc.StatusCode.INVALID_ARGUMENT,
                ):
                    raise AlertsNotGivenError(
                        f"{link.address}: {error.code().name}: {error.details()}"
                    ) from error
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
