"""Times on the wire, and in Python."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def to_timestamp(time: datetime) -> Timestamp:
    """Return a time as a message; one without a zone is local, as everywhere in Python."""
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC))
    return message


def to_datetime(message: Timestamp) -> datetime:
    """Return a time, in UTC, to the microsecond."""
    return message.ToDatetime(UTC)


def to_duration(seconds: float) -> Duration:
    """Return seconds as a message, to the nanosecond."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1_000_000_000))
    return message


def to_seconds(message: Duration) -> float:
    """Return a duration in seconds."""
    return message.seconds + message.nanos / 1e9
