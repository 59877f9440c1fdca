"""What is confided is not written, in whatever it is wrapped; and what is written is JSON of bounded size."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from telemetry.redaction import redact, redacted

SECRET = "zXc9" * 5
IMAGE = bytes(range(256)) * 4

_names = st.text(max_size=8)
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(_names, inner), max_leaves=20
)
_secret_fields = st.sampled_from(
    ["token", "Authorization", "auth_token", "authToken", "password", "x-api-key", "set_cookie"]
)
_confided = st.one_of(
    st.tuples(_secret_fields, st.just(SECRET) | st.just([SECRET]) | st.just({"a": SECRET})),
    st.tuples(
        _names,
        st.sampled_from(
            [
                f"Bearer {SECRET}",
                f"bearer.{SECRET}",
                f"wss://h/?token={SECRET}",
                f"rtsp://admin:{SECRET}@10.0.0.5:554/stream",
                f"cannot connect to redis://:a@{SECRET}@h/0",
            ]
        ),
    ),
    st.tuples(_names, st.sampled_from([IMAGE, bytearray(IMAGE), memoryview(IMAGE)])),
    st.tuples(_names, st.just(base64.b64encode(IMAGE).decode())),
    st.tuples(_names, st.just(base64.urlsafe_b64encode(IMAGE).decode())),
    st.tuples(_names, st.just(pb.Frame(encoded=IMAGE, frame_id=SECRET))),
    st.tuples(st.sampled_from(["image", "frame_data", "encoded"]), st.just(SECRET)),
)


@st.composite
def _events(draw: st.DrawFn) -> dict[str, Any]:
    """Return an event that holds something confided somewhere."""
    name, value = draw(_confided)
    inner: Any = {**draw(st.dictionaries(_names, _values, max_size=3)), name: value}
    for _ in range(draw(st.integers(0, 4))):
        inner = draw(st.sampled_from([[inner], (inner,), {"within": inner}]))
    return {"event": draw(st.text()), "held": inner}


@given(_events())
def test_what_is_confided_is_not_written(event: dict[str, Any]) -> None:
    """By its field's name, by its type, or by how it looks."""
    written = json.dumps(redact(None, "info", event), allow_nan=False)
    assert SECRET not in written
    assert base64.b64encode(IMAGE).decode()[100:140] not in written
    assert IMAGE.hex()[100:140] not in written


@given(st.dictionaries(_names, _values))
def test_whatever_is_logged_is_json(event: dict[str, Any]) -> None:
    """No value can make a line that is none."""
    assert isinstance(json.loads(json.dumps(redacted(event), allow_nan=False)), dict)


@pytest.mark.parametrize(
    "value",
    ["x " * 10_000_000, ["x"] * 1_000_000, {str(n): n for n in range(100_000)}, "\n" * 1_000_000],
)
def test_what_is_long_is_cut(value: object) -> None:
    """However long it is."""
    assert len(json.dumps(redacted(value))) < 3000


def test_what_is_nested_without_end_is_cut() -> None:
    """Even what holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    assert redacted(endless) == [[[[[[[["<list>"]]]]]]]]


def test_what_is_not_confided_stays() -> None:
    """Numbers of images, names, paths, hashes and traces of what went wrong."""
    told = {
        "images": 8,
        "path": Path("/models/best.pt"),
        "address": "http://user@h:4317/a@b and http://h:8000",
        "sha256": "0f" * 32,
        "message": "a token is needed; offer the subprotocol bearer.<token in base64url>",
        "exception": "Traceback:\n" + "\n".join(["  File"] * 60),
        "shape": (8, 640, 640, 3),
        "error": ValueError("too small"),
        "array": np.zeros(3),
    }
    assert redacted(told) == told | {
        "path": "/models/best.pt",
        "shape": [8, 640, 640, 3],
        "error": "too small",
        "array": "<ndarray>",
    }


def test_a_long_line_says_how_long_it_was() -> None:
    """Its beginning is what tells."""
    assert redacted("word " * 1000) == "word " * 200 + "… (5,000 characters)"
