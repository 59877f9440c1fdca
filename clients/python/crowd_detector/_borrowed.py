"""The few messages of Google's and gRPC's own contracts that the client needs.

Their Python packages (googleapis-common-protos, grpcio-health-checking) would be two dependencies more for
five messages; declared in a pool of their own, these do not clash with them where they are installed.
Fields that are not read here are left out: protobuf passes over them.

Sources: google/rpc/status.proto, google/rpc/error_details.proto, grpc/health/v1/health.proto.
"""

from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_SINGLE: Final = _FIELD.LABEL_OPTIONAL
_MANY: Final = _FIELD.LABEL_REPEATED

_FILES: Final = {
    "google.rpc": {
        "Status": [
            ("code", 1, _SINGLE, _FIELD.TYPE_INT32, ""),
            ("message", 2, _SINGLE, _FIELD.TYPE_STRING, ""),
            ("details", 3, _MANY, _FIELD.TYPE_MESSAGE, ".google.protobuf.Any"),
        ],
        "ErrorInfo": [
            ("reason", 1, _SINGLE, _FIELD.TYPE_STRING, ""),
            ("domain", 2, _SINGLE, _FIELD.TYPE_STRING, ""),
        ],
        "RetryInfo": [
            ("retry_delay", 1, _SINGLE, _FIELD.TYPE_MESSAGE, ".google.protobuf.Duration")
        ],
    },
    "grpc.health.v1": {
        "HealthCheckRequest": [("service", 1, _SINGLE, _FIELD.TYPE_STRING, "")],
        "HealthCheckResponse": [("status", 1, _SINGLE, _FIELD.TYPE_INT32, "")],  # an enum's number
    },
}


def _declared() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for needed in (any_pb2, duration_pb2):
        pool.AddSerializedFile(needed.DESCRIPTOR.serialized_pb)
    for package, messages in _FILES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto",
            package=package,
            syntax="proto3",
            dependency=[any_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name],
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field, number, label, kind, type_name in fields:
                message.field.add(
                    name=field, number=number, label=label, type=kind, type_name=type_name or None
                )
        pool.Add(file)
    return pool


_POOL: Final = _declared()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


Status: Final = _class("google.rpc.Status")
ErrorInfo: Final = _class("google.rpc.ErrorInfo")
RetryInfo: Final = _class("google.rpc.RetryInfo")
HealthCheckRequest: Final = _class("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse: Final = _class("grpc.health.v1.HealthCheckResponse")
#: HealthCheckResponse.ServingStatus.SERVING
SERVING: Final = 1
