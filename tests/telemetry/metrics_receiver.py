"""A collector that keeps the metrics that it is sent, and does wrong what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


class MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Takes metrics over OTLP.

    Attributes:
        requests: that came and were answered, in order.
        calls: how many came, answered or not.
        gate: they are answered while it is open.
        refuse: a status that they end with.
        endpoint: for OTEL_EXPORTER_OTLP_ENDPOINT.
    """

    def __init__(self) -> None:
        self.requests: list[pb.ExportMetricsServiceRequest] = []
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse: grpc.StatusCode | None = None
        self.endpoint = ""
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0) -> None:
        """Listen; again on the same port, where it was stopped."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call] # generated without types
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"http://127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """End at once."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def restart(self) -> None:
        """Begin again where it was."""
        await self.start(int(self.endpoint.rpartition(":")[2]))

    async def Export(  # noqa: N802 - the contract names it
        self, request: pb.ExportMetricsServiceRequest, context: Any
    ) -> pb.ExportMetricsServiceResponse:
        """Take metrics."""
        self.calls += 1
        await self.gate.wait()
        if self.refuse is not None:
            await context.abort(self.refuse, "refused by the test")
        self.requests.append(request)
        return pb.ExportMetricsServiceResponse()

    def received(self) -> Iterator[Metric]:
        """Give all metrics that came, the last ones first."""
        for request in reversed(self.requests):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    yield from scope.metrics

    def count(self, name: str) -> int:
        """Return a counter as it came last; 0 where it never did."""
        found = (each.sum.data_points[0].as_int for each in self.received() if each.name == name)
        return next(found, 0)

    def resource(self) -> dict[str, str]:
        """Return what the process that sent the last metrics says of itself."""
        attributes = self.requests[-1].resource_metrics[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}


@asynccontextmanager
async def receiving() -> AsyncIterator[MetricsReceiver]:
    """Run a collector on a free port."""
    receiver = MetricsReceiver()
    await receiver.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await receiver.stop()
