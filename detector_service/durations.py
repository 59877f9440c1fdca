"""Times as protobuf carries them."""

from google.protobuf.duration_pb2 import Duration

_NANOS = 1_000_000_000


def duration(value: float) -> Duration:
    """Return a Duration of this many seconds, at least 0."""
    whole, nanos = divmod(round(value * _NANOS), _NANOS)
    return Duration(seconds=whole, nanos=nanos)


def seconds(value: Duration) -> float:
    """Return a Duration in seconds."""
    return value.seconds + value.nanos / _NANOS
