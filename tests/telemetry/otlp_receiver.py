"""A collector that keeps what it is sent."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import until

add_servicer: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # it has no types


class ReceivedSpan:
    """A span as it came.

    Attributes:
        service: whose it is.
        span: the message.
    """

    def __init__(self, service: str, span: Span) -> None:
        self.service = service
        self.span = span

    def __repr__(self) -> str:
        return f"{self.service}:{self.name}"

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, str | int | float | bool]:
        return _attributes(self.span.attributes)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans over OTLP.

    Attributes:
        address: where it listens, for OTEL_EXPORTER_OTLP_ENDPOINT.
        spans: that came.
        gate: requests are answered while it is open.
    """

    def __init__(self) -> None:
        self.address = ""
        self.spans: list[ReceivedSpan] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def Export(  # noqa: N802 - the contract names it
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        """Take spans."""
        await self.gate.wait()
        for each in request.resource_spans:
            service = str(_attributes(each.resource.attributes)["service.name"])
            for scope in each.scope_spans:
                self.spans.extend(ReceivedSpan(service, span) for span in scope.spans)
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the spans of a name, in the order that they came."""
        return [each for each in self.spans if each.name == name]

    async def has(self, name: str, count: int = 1) -> list[ReceivedSpan]:
        """Wait for so many spans of a name."""
        await until(lambda: len(self.named(name)) >= count)
        return self.named(name)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str | int | float | bool]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in pairs
    }


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    server = grpc.aio.server()
    add_servicer(collector, server)
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        await server.stop(None)
