"""What comes over the wire, and what is made of it: the three subprotocols."""

import base64
import json
from typing import Any

import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import events, protocols, translation
from bridge.errors import ErrorCode, Refused
from bridge.protocols import PROTOCOLS, IncomingFrame, decode_image, split
from tests.bridge.bridges import client, fake_and_bridge

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from([*events.names(events.Request), "connected", ""]) | JSON_VALUES},
    optional={
        "data": JSON_VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "frame": st.just("aW1hZ2U=") | JSON_VALUES,
                "timestamp": st.integers() | st.floats() | JSON_VALUES,
                "settings": st.fixed_dictionaries(
                    {},
                    optional={
                        "confidence_threshold": st.floats() | JSON_VALUES,
                        "crowd_threshold": st.integers() | JSON_VALUES,
                    },
                ),
                "camera": st.text() | JSON_VALUES,
                "frame_id": JSON_VALUES,
                "max_frame_rate": st.floats() | JSON_VALUES,
                "buffer_frames": st.integers() | JSON_VALUES,
                "priority": st.integers() | JSON_VALUES,
                "max_age": st.floats() | JSON_VALUES,
                "cameras": st.lists(st.text()) | JSON_VALUES,
                "token": JSON_VALUES,
            },
        )
    },
)
CODES = {ErrorCode.INVALID_MESSAGE, ErrorCode.UNKNOWN_EVENT, ErrorCode.INVALID_FRAME}


def decodes_or_refuses(protocol: str, message: str | bytes) -> None:
    """What is not acceptable is refused with a documented code, a cause and a cure; nothing else is raised.

    A look at whether it is a frame agrees with that.
    """
    looks_like_a_frame = PROTOCOLS[protocol].is_frame(message)
    try:
        request = PROTOCOLS[protocol].decode(message)
    except Refused as refused:
        assert refused.code in CODES
        assert str(refused)
    else:
        assert looks_like_a_frame is isinstance(request, IncomingFrame)
        if isinstance(request, IncomingFrame):
            pb.StreamDetectionsRequest.FromString(request.frame.request())


@given(EVENTS)
@example({"event": "process_frame", "data": {"frame": "aW1hZ2U=", "timestamp": 1e308}})
def test_any_event_is_taken_or_refused(event: Any) -> None:
    """In both ways that carry JSON."""
    text = json.dumps(event)
    decodes_or_refuses(protocols.JSON, text)
    header = text.encode()
    for image in (b"", b"image"):
        decodes_or_refuses(protocols.JSON_BINARY, len(header).to_bytes(4, "big") + header + image)


@given(st.text() | st.binary())
def test_any_message_is_taken_or_refused(message: str | bytes) -> None:
    """On every subprotocol."""
    for protocol in PROTOCOLS:
        decodes_or_refuses(protocol, message)


@given(st.binary(max_size=200), st.binary(max_size=500))
def test_header_and_image_come_apart_as_they_were_put_together(header: bytes, image: bytes) -> None:
    """Any header, any image."""
    got_header, got_image = split(len(header).to_bytes(4, "big") + header + image)
    assert (bytes(got_header), bytes(got_image)) == (header, image)


@given(st.binary(max_size=300))
def test_base64_with_and_without_a_prefix(image: bytes) -> None:
    """Standard alphabet, padded."""
    text = base64.b64encode(image).decode()
    assert decode_image(text) == image
    assert decode_image("data:image/jpeg;base64," + text) == image
    assert decode_image("data:;charset=x;BASE64," + text) == image


@pytest.mark.parametrize(
    "text",
    ["a", "ab=c", "a b=", "ab\n==", "-_-_", "data:", "data:image/jpeg,aaaa", "data:" + "x" * 999],
)
def test_what_is_not_base64(text: str) -> None:
    """Refused as a frame that is not valid."""
    with pytest.raises(Refused) as refused:
        decode_image(text)
    assert refused.value.code is ErrorCode.INVALID_FRAME


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_kept_to_the_millisecond(milliseconds: int) -> None:
    """Over all years that the contract knows."""
    assert translation.milliseconds(translation.to_timestamp(milliseconds)) == milliseconds


@given(st.tuples(*[st.floats(0, 8192, width=32)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3]))
def test_rounding_leaves_boxes_as_the_contract_has_them(box: tuple[float, ...]) -> None:
    """0 <= x1 < x2 <= width, and likewise for y."""
    x1, y1, x2, y2 = box
    detection = pb.Detection(box=pb.BoundingBox(x1=x1, y1=y1, x2=x2, y2=y2), confidence=0.5)
    found = translation._detection(detection).bbox
    assert 0 <= found[0] < found[2] <= 8192
    assert 0 <= found[1] < found[3] <= 8192
    assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 0.000501


def test_every_name_of_the_contract_has_one_in_the_events() -> None:
    """Levels, alert types and severities, drops; and every reason of an error has a code."""
    assert set(translation._LEVELS.values()) >= {"empty", "low", "medium", "high", "very_high"}
    assert set(translation._ALERT_TYPES.values()) >= {
        "crowd_warning",
        "processing_error",
        "connection_limit",
    }
    assert set(translation._ALERT_LEVELS.values()) >= {"info", "warning", "error", "critical"}
    assert set(translation._DROP_REASONS) == set(pb.DropReason.values())
    of_frames = {
        number
        for name, number in pb.ErrorReason.items()
        if 0 < number <= pb.ERROR_REASON_INVALID_REQUEST
    }
    assert of_frames == set(translation.ERROR_CODES)


async def test_protobuf() -> None:
    """The contract's messages, in and out; the bridge's own events are JSON text."""
    async with (
        fake_and_bridge() as (detector, bridge),
        client(bridge.url, subprotocols=[protocols.PROTOBUF]) as browser,
    ):
        assert browser.websocket.subprotocol == protocols.PROTOBUF

        async def say(**request: Any) -> pb.StreamDetectionsResponse:
            message = pb.StreamDetectionsRequest(**request).SerializeToString()
            await browser.websocket.send(message)
            answer = await browser.websocket.recv()
            assert isinstance(answer, bytes)
            return pb.StreamDetectionsResponse.FromString(answer)

        configured = await say(config=pb.StreamConfig(camera="door"))
        assert configured.configured.camera == "door"
        detector.drop_frames = {"1"}
        await browser.websocket.send(
            pb.StreamDetectionsRequest(frame=pb.Frame(frame_id="1")).SerializeToString()
        )
        answer = await say(frame=pb.Frame(frame_id="2", encoded=b"image"))
        assert answer.result.frame.frame_id == "2"
        assert answer.result.frame.sequence == 3
        assert answer.result.crowd.total_people == 1
        assert sum(drop.count for drop in answer.drops) == 1
        raw = pb.RawImage(width=2, height=1, pixel_format=pb.PIXEL_FORMAT_GRAY8, data=b"ab")
        await say(frame=pb.Frame(raw=raw))
        assert detector.frames[-1].raw == raw
        detector.fail_frames["bad"] = pb.FrameError(reason=pb.ERROR_REASON_INFERENCE_FAILED)
        failed = await say(frame=pb.Frame(frame_id="bad"))
        assert failed.error.reason == pb.ERROR_REASON_INFERENCE_FAILED
        assert failed.error.frame.sequence == 5


async def test_json_header_and_image() -> None:
    """The image as it is, behind its header; answers as in JSON."""
    async with (
        fake_and_bridge() as (detector, bridge),
        client(bridge.url, subprotocols=[protocols.JSON_BINARY]) as browser,
    ):
        assert browser.websocket.subprotocol == protocols.JSON_BINARY
        header = json.dumps(
            {"event": "process_frame", "data": {"frame_id": "a", "timestamp": 7}}
        ).encode()
        await browser.websocket.send(len(header).to_bytes(4, "big") + header + b"\xff\xd8image")
        result = await browser.result()
        assert (result["frame"]["frame_id"], result["frame"]["timestamp"]) == ("a", 7)
        assert detector.frames[0].encoded == b"\xff\xd8image"
        short = b'{"event":"process_frame"}'
        await browser.websocket.send(len(short).to_bytes(4, "big") + short + b"image")
        await browser.result()


async def test_a_client_that_offers_nothing_known_speaks_json() -> None:
    """As the prototype's do."""
    async with (
        fake_and_bridge() as (_, bridge),
        client(bridge.url, subprotocols=["chat"]) as browser,
    ):
        assert browser.websocket.subprotocol is None
        await browser.send_frame()
        await browser.result()


def test_drops_of_a_reason_that_is_not_known_add_up() -> None:
    """A later contract may have more; protobuf has no name for them here, and none for lost frames."""
    drops = [
        pb.DropCount.FromString(bytes([0x08, reason, 0x10, count]))
        for reason, count in ((100, 1), (101, 2), (pb.DROP_REASON_SUPERSEDED, 4))
    ]
    named = translation.named_drops(drops)
    assert named == {"other": 3, "superseded": 4}
    told = translation.drop_counts({"detector_lost": 8} | named)
    assert sum(each.count for each in told) == 15
    assert {each.reason for each in told} == {pb.DROP_REASON_UNSPECIFIED, pb.DROP_REASON_SUPERSEDED}
