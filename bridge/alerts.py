"""Alerts of the detectors, on their way to a client that subscribed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb

from bridge.detectors import DetectorLink, Detectors, being_cancelled

_PAUSE_SECONDS: Final = 1.0


class AlertsNotGivenError(Exception):
    """A detector does not give alerts; the text says which and why."""


async def watch(
    detectors: Detectors,
    cameras: Sequence[str],
    take: Callable[[pb.Alert], Awaitable[None]],
) -> None:
    """Hand on the alerts of all detectors, until cancelled; one that goes away is watched again once it is back.

    Args:
        detectors: each has alerts of its own.
        cameras: whose; none means all.
        take: is given each alert.

    Raises:
        ExceptionGroup: of AlertsNotGivenError, where a detector refuses.
    """
    async with asyncio.TaskGroup() as group:
        for link in detectors.links:
            group.create_task(_watch_one(detectors, link, cameras, take))


async def _watch_one(
    detectors: Detectors,
    link: DetectorLink,
    cameras: Sequence[str],
    take: Callable[[pb.Alert], Awaitable[None]],
) -> None:
    while True:
        await detectors.wait_link(link)
        try:
            call = link.service.WatchAlerts(
                pb.WatchAlertsRequest(cameras=cameras), metadata=link.metadata
            )
            async for response in call:
                await take(response.alert)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT):
                raise AlertsNotGivenError(
                    f"{link.address}: {error.code().name}: {error.details()}"
                ) from error
        except asyncio.CancelledError:
            if being_cancelled():
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
