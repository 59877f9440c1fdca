"""An image is taken out of its event before that is read, and nobody can tell."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import events
from bridge.errors import Refused
from bridge.json_text import decode_request, decode_request_with_image

IMAGES = st.text("AZaz09+/=", max_size=30) | st.text(max_size=5)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "frame": IMAGES | st.integers(),
        "camera": st.text(max_size=5),
        "settings": st.fixed_dictionaries({}, optional={"frame": IMAGES}),
        "x": st.fixed_dictionaries({}, optional={"frame": IMAGES}),
    },
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["process_frame", "configure", "none"])},
    optional={"data": DATA | st.integers(), "frame": IMAGES},
)
TEXTS = st.builds(
    json.dumps,
    EVENTS,
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]),
)


def read(text: str) -> tuple[Any, str] | None:
    """Return what a reader of JSON finds; None where it refuses."""
    try:
        request = decode_request(text)
    except Refused:
        return None
    return request, request.data.frame if isinstance(request, events.ProcessFrame) else ""


@given(TEXTS)
@example('{"event":"process_frame","data":{"frame":"ab\\/c"}}')  # as PHP writes base64
@example('{"event":"process_frame","data":{"frame":"a","frame":"b"}}')
@example('{"event":"process_frame","frame":"a","data":{"frame":"b"}}')
@example('{"event":"process_frame","data":{"camera":"\\"frame\\":\\"a","frame":"b"}}')
@example('{"event":"process_frame","data":{"frame":"a')
@example('{"event":"process_frame","data":{"\\u0066rame":"a"}}')
def test_the_same_is_read_with_the_image_apart(text: str) -> None:
    """Whatever else is called a frame, and however it is written."""
    expected = read(text)
    if expected is None:
        with pytest.raises(Refused):
            decode_request_with_image(text)
        return
    request, image = decode_request_with_image(text)
    assert image == expected[1]
    if isinstance(request, events.ProcessFrame):
        data, wanted = request.data, expected[0].data
        assert (data.camera, data.settings) == (wanted.camera, wanted.settings)
    else:
        assert request == expected[0]
