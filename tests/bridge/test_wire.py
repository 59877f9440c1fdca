"""Frames put together and told apart by hand are those that protobuf knows."""

from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import wire
from telemetry.trace_context import TraceContext

SAID = st.builds(
    pb.Frame,
    frame_id=st.text(max_size=200),
    camera=st.text(max_size=20),
    capture_time=st.none() | st.builds(Timestamp, seconds=st.integers(0, 2**33)),
    settings=st.none() | st.builds(pb.DetectionSettings, crowd_threshold=st.integers(0, 1000)),
    traceparent=st.text(max_size=60),
    tracestate=st.text(max_size=60),
)
IMAGES = st.binary(max_size=300)


def complete(said: pb.Frame, image: bytes) -> pb.StreamDetectionsRequest:
    """Return a frame as protobuf makes it."""
    frame = pb.Frame(encoded=image)
    frame.MergeFrom(said)
    return pb.StreamDetectionsRequest(frame=frame)


@given(SAID, IMAGES)
@example(pb.Frame(), b"")
@example(pb.Frame(frame_id="large"), bytes(70_000))
def test_what_is_joined_is_the_message(said: pb.Frame, image: bytes) -> None:
    """Whatever is said of the frame, whatever its image."""
    frame = wire.join(said, image)
    assert pb.StreamDetectionsRequest.FromString(frame.request()) == complete(said, image)
    assert frame.size == len(image)
    assert wire.join(said, memoryview(image)) == frame


@given(SAID, IMAGES)
@example(pb.Frame(), b"")
@example(pb.Frame(frame_id="large"), bytes(70_000))
def test_what_protobuf_makes_is_known(said: pb.Frame, image: bytes) -> None:
    """It is passed on as it is."""
    message = complete(said, image).SerializeToString()
    context = TraceContext(said.traceparent, said.tracestate if said.traceparent else "")
    frame = wire.split(message)
    assert frame == wire.WireFrame((message,), len(image), context)
    assert frame.request() is message, "nothing of it is copied"


@given(SAID, IMAGES, st.text(max_size=200), st.text(max_size=600))
def test_a_frame_may_be_said_to_belong_to_another_span(
    said: pb.Frame, image: bytes, traceparent: str, tracestate: str
) -> None:
    """All else stays as it was; what it said of its span before does not count."""
    context = TraceContext(traceparent, tracestate)
    read = pb.StreamDetectionsRequest.FromString(wire.join(said, image).request(context))
    said.traceparent = traceparent or said.traceparent
    said.tracestate = tracestate
    assert read == complete(said, image)


def test_many_fields_in_front_of_the_image_are_left_to_protobuf() -> None:
    """To look through each would stop all connections for seconds; protobuf itself is fast."""
    fields = (
        20 * pb.Frame(frame_id="7").SerializeToString()
        + pb.Frame(encoded=b"image").SerializeToString()
    )
    message = b"\x12" + bytes([len(fields)]) + fields
    assert pb.StreamDetectionsRequest.FromString(message).frame.encoded == b"image"
    assert wire.split(message) is None


@st.composite
def almost_frames(draw: st.DrawFn) -> bytes:
    """Return a frame with a few bytes changed, cut off, or added."""
    message = bytearray(wire.join(draw(SAID), draw(st.binary(max_size=20))).request())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(message)


@given(almost_frames() | st.binary(max_size=60))
@example(b"\x12\x02\x22\x00\x0a\x00")  # a frame, then a configuration: the last one counts
@example(b"\x12\x04\x22\x00\x2a\x00")  # an encoded image, then a raw one
@example(b"\x12\x06\x22\x01a\x22\x01b")  # two images
@example(b"\x12\x05\x0a\x01\xff\x22\x00")  # a name that is not UTF-8
@example(b"\x12\x04\x22\x09ab")  # an image that is longer than its message
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_only_a_frame_is_taken_for_one(message: bytes) -> None:
    """A detector reads the same from it; what is no message would end its stream."""
    frame = wire.split(message)
    try:
        request = pb.StreamDetectionsRequest.FromString(message)
    except DecodeError:
        assert frame is None
        return
    if frame is not None:
        assert request.WhichOneof("message") == "frame"
        assert request.frame.WhichOneof("image") == "encoded"
        assert frame[:2] == ((message,), len(request.frame.encoded))
        assert frame.context.traceparent == request.frame.traceparent
