"""A collector that takes whatever it is sent over OTLP, and keeps nothing.

python -m benchmarks.otlp_sink PORT
"""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

#: What an exporter calls; the answers of all three are empty messages.
_METHODS: Final = {
    f"/opentelemetry.proto.collector.{signal_}.v1.{service}/Export"
    for signal_, service in (
        ("metrics", "MetricsService"),
        ("trace", "TraceService"),
        ("logs", "LogsService"),
    )
}


class _TakeAll(grpc.GenericRpcHandler):
    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if handler_call_details.method not in _METHODS:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def main() -> None:
    """Serve until SIGTERM."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_TakeAll()])
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
