"""How long unary calls take, and how they end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from opentelemetry.metrics import Meter

from telemetry.instruments import DURATIONS

_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


class CallTimer(grpc.aio.ServerInterceptor):
    """Measures every unary call of the services that there are, refused ones too.

    The attributes are those of OpenTelemetry's conventions for RPC: https://opentelemetry.io/docs/specs/semconv/rpc/
    """

    def __init__(self, meter: Meter) -> None:
        """Make it.

        Args:
            meter: takes the measurements.
        """
        self._durations: Final = meter.create_histogram(
            "crowd_detector.call.duration",
            "s",
            "Of unary calls, from the request to the answer.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Put a measured handler in the place of a unary one."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._timed(handler.unary_unary, handler_call_details.method.removeprefix("/")),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _timed(self, call: Callable[[Any, Any], Awaitable[Any]], method: str) -> Any:
        async def timed(request: Any, context: Any) -> Any:
            began, status = time.perf_counter(), "UNKNOWN"
            try:
                response = await call(request, context)
                status = _status(context, "OK")
            except asyncio.CancelledError:
                status = "CANCELLED"
                raise
            except BaseException:
                status = _status(context, "UNKNOWN")
                raise
            else:
                return response
            finally:
                self._durations.record(
                    time.perf_counter() - began,
                    {"rpc.method": method, "rpc.response.status_code": status},
                )

        return timed


def _status(context: Any, otherwise: str) -> str:
    """Return the name of the status that a handler has set."""
    code = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return _NAMES.get(number, otherwise) if number else otherwise
