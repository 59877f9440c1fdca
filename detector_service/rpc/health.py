"""grpc.health.v1.Health: https://github.com/grpc/grpc/blob/master/doc/health-checking.md."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # it has no types
    """Tells who asks, once or for as long as they watch, which services serve.

    grpcio-health-checking has one, too, which holds a lock while it writes to who watches: one that does not
    read would keep the service from telling its state to anybody, and from its end.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Make it; nothing serves yet.

        Args:
            names: of services; empty: of all together.
        """
        self._names: Final = frozenset(names)
        self._status: int = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()

    def tell(self, *, serving: bool) -> None:
        """Tell that they serve, or do not."""
        statuses = health_pb2.HealthCheckResponse
        self._status = statuses.SERVING if serving else statuses.NOT_SERVING
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Say whether a service serves."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Say it again with each change; never ends by itself."""
        told = None
        while True:
            changed = self._changed
            status = (
                self._status
                if request.service in self._names
                else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
