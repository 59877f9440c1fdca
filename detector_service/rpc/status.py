"""How a call that cannot go on ends: a canonical status with google.rpc details (AIP-193)."""

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import grpc
import structlog
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from detector_service.durations import duration
from detector_service.errors import DetectorError
from detector_service.frame_settings import InvalidFieldError

_log = structlog.get_logger()

DOMAIN: Final = "crowd.detector.v1"
_PREFIX: Final = "ERROR_REASON_"


def reason_name(reason: pb.ErrorReason.ValueType) -> str:
    """Return a reason as callers and the log are told it."""
    return pb.ErrorReason.Name(reason).removeprefix(_PREFIX)


def drop_name(reason: pb.DropReason.ValueType) -> str:
    """Return why frames were dropped, as the log is told it."""
    return pb.DropReason.Name(reason).removeprefix("DROP_REASON_")


class CallRefused(DetectorError):  # noqa: N818 - it is no error of the service
    """A call that ends with a status other than OK.

    Attributes:
        code: the canonical status.
        reason: which one of the contract's ``ErrorReason`` values.
        retry_after: seconds after which trying again may help; None where it would not.
        fields: fields at fault, as (path, description).
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: pb.ErrorReason.ValueType,
        message: str,
        *,
        retry_after: float | None = None,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.fields = tuple(fields)

    @classmethod
    def of_field(cls, error: InvalidFieldError) -> "CallRefused":
        """Refuse a call for a field that is not acceptable."""
        return cls(
            grpc.StatusCode.INVALID_ARGUMENT,
            error.reason,
            str(error),
            fields=[(error.field, error.description)],
        )

    @classmethod
    def of_frame(cls, error: pb.FrameError) -> "CallRefused":
        """End a call for one frame with what became of that frame."""
        if error.reason == pb.ERROR_REASON_INFERENCE_FAILED:
            return cls(grpc.StatusCode.INTERNAL, error.reason, error.message)
        return cls(
            grpc.StatusCode.INVALID_ARGUMENT,
            error.reason,
            error.message,
            fields=[("frame", error.message)],
        )

    def details(self) -> bytes:
        """Return the google.rpc.Status that goes along with the status, serialised."""
        messages: list[Message] = [
            error_details_pb2.ErrorInfo(reason=reason_name(self.reason), domain=DOMAIN)
        ]
        if self.retry_after is not None:
            messages.append(error_details_pb2.RetryInfo(retry_delay=duration(self.retry_after)))
        if self.fields:
            violation = error_details_pb2.BadRequest.FieldViolation
            messages.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        violation(field=path, description=text) for path, text in self.fields
                    ]
                )
            )
        packed = []
        for message in messages:
            packed.append(AnyMessage())
            packed[-1].Pack(message)
        code: int = self.code.value[0]
        status = status_pb2.Status(code=code, message=str(self), details=packed)
        return bytes(status.SerializeToString())

    async def end(self, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
        """End the call, and log it; never returns, as grpc.aio raises from within `abort`."""
        if self.reason != pb.ERROR_REASON_SHUTTING_DOWN:  # which is said once, for all of them
            _log.warning("call.refused", reason=reason_name(self.reason), message=str(self))
        await context.abort(
            self.code, str(self), trailing_metadata=(("grpc-status-details-bin", self.details()),)
        )


def not_ready() -> CallRefused:
    """Refuse a call that came before the models were loaded."""
    return CallRefused(
        grpc.StatusCode.UNAVAILABLE,
        pb.ERROR_REASON_NOT_READY,
        "the models are being loaded; try again in a second",
        retry_after=1.0,
    )


def shutting_down() -> CallRefused:
    """Refuse a call, or end a stream, because the service goes down."""
    return CallRefused(
        grpc.StatusCode.UNAVAILABLE,
        pb.ERROR_REASON_SHUTTING_DOWN,
        "the service is shutting down; connect again to another, or to this one in a moment",
        retry_after=1.0,
    )


def not_implemented(call: str) -> CallRefused:
    """Refuse a call that the contract has and this version has not."""
    return CallRefused(
        grpc.StatusCode.UNIMPLEMENTED,
        pb.ERROR_REASON_NOT_IMPLEMENTED,
        f"{call} is not part of this version of the service",
    )
