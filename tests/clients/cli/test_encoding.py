"""How pictures are sent: with the right colours, and within the contract."""

import io

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from crowd_detector import Frame, RawImage
from crowd_detector.cli.encoding import Encoder, fits_raw, is_loopback, to_image
from crowd_detector.cli.encoding_names import Encoding
from crowd_detector.frames import frame_message
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector_service.frames.raw import from_raw

COLOURS = [(200, 30, 40), (20, 180, 60), (30, 40, 220), (240, 240, 240), (10, 10, 10)]


@pytest.mark.parametrize(
    ("server", "here"),
    [
        ("localhost:1", True),
        ("127.0.0.2:1", True),
        ("[::1]:1", True),
        ("example.com:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_what_is_this_machine(server: str, here: bool) -> None:
    """By its address."""
    assert is_loopback(server) is here
    frame = av.VideoFrame(64, 48, "yuv420p")
    assert isinstance(Encoder(Encoding.AUTO, server)(frame), RawImage) is here


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_what_fits_is_what_the_contract_allows(width: int, height: int) -> None:
    """Even sides, and no more bytes than the service takes."""
    assert fits_raw(width, height) == (
        width % 2 == height % 2 == 0 and width * height * 1.5 <= 33_554_432
    )


@pytest.mark.parametrize(
    ("space", "wide"),
    [(Colorspace.ITU601, False), (Colorspace.ITU709, False), (Colorspace.ITU601, True)],
)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("encoding", [Encoding.RAW, Encoding.JPEG])
def test_the_service_sees_the_colours_that_were_there(
    space: Colorspace, wide: bool, colour: tuple[int, int, int], encoding: Encoding
) -> None:
    """Whatever the video stores them as."""
    picture = av.VideoFrame.from_image(Image.new("RGB", (70, 50), colour))  # type: ignore[no-untyped-call]
    frame = VideoReformatter().reformat(
        picture,
        format="yuv420p",
        dst_colorspace=space,
        dst_color_range=ColorRange.JPEG if wide else ColorRange.MPEG,
    )
    frame.colorspace = {Colorspace.ITU601: 6, Colorspace.ITU709: 1}[space]
    frame.color_range = 2 if wide else 1
    sent = Encoder(encoding, "localhost:1")(frame)
    seen = seen_by_the_service(sent)
    assert seen == pytest.approx(colour, abs=6)
    drawn = to_image(frame, VideoReformatter()).getpixel((30, 20))
    assert drawn == pytest.approx(colour, abs=6)


def seen_by_the_service(sent: bytes | RawImage) -> tuple[int, ...]:
    """Return a pixel in the middle, red first."""
    if isinstance(sent, bytes):
        with Image.open(io.BytesIO(sent)) as image:
            return tuple(np.asarray(image)[20, 30].tolist())
    message = frame_message(Frame(sent))
    seen = from_raw(message.raw, message.raw.data, max_pixels=10_000)
    return tuple(seen[20, 30, ::-1].tolist())
