"""JPEG, PNG and WebP files: what is accepted, and with what reason the rest is refused."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from crowd.detector.v1 import detector_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from detector_service.errors import FrameRefused
from detector_service.frames.encoded import decode, decode_picture, read_header, reduction

MEGAPIXEL = 1_000_000
FORMATS = ("JPEG", "PNG", "WEBP")


def picture(width: int = 48, height: int = 32) -> Image.Image:
    """Make a picture whose upper left quarter is red, and nothing else is."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def reason_for(data: bytes, max_pixels: int = MEGAPIXEL) -> pb.ErrorReason.ValueType:
    """Return the reason for which a file is refused."""
    with pytest.raises(FrameRefused) as refused:
        decode(data, max_pixels=max_pixels)
    return refused.value.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded_to_blue_green_red(kind: str) -> None:
    """The red quarter is red in the last channel, at its place."""
    pixels = decode(saved(picture(), kind), max_pixels=MEGAPIXEL)
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8
    blue, green, red = (int(value) for value in pixels[4, 4])
    assert red > 200
    assert max(blue, green) < 60
    assert pixels[-4, -4].min() > 200


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    enough=st.tuples(st.integers(1, 1500), st.integers(1, 1500)),
)
def test_what_is_reduced_has_enough_left(width: int, height: int, enough: tuple[int, int]) -> None:
    """By a half, a quarter or an eighth, the most that leaves enough; else not at all."""
    factor = reduction(width, height, *enough)
    fit = [f for f in (2, 4, 8) if width >= f * enough[0] and height >= f * enough[1]]
    assert factor == max(fit, default=1)


@pytest.mark.parametrize(
    ("width", "height", "decoded"),
    [
        (1280, 720, (640, 360)),
        (1281, 721, (641, 361)),
        (1920, 1080, (480, 270)),
        (3840, 2160, (480, 270)),
        (831, 720, (831, 720)),
        (416, 234, (416, 234)),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_jpegs_may_be_decoded_at_a_reduced_size(
    width: int, height: int, decoded: tuple[int, int], orientation: int
) -> None:
    """The frame's own size is told, upright; what is asked about is the upright picture too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(width, height), "JPEG", exif=exif)
    upright = (width, height) if orientation == 1 else (height, width)
    enough = (416, 234) if orientation == 1 else (234, 416)
    asked = []

    def wanted(*size: int) -> tuple[int, int]:
        asked.append(size)
        return enough

    got = decode_picture(data, max_pixels=10 * MEGAPIXEL, enough=wanted)
    assert asked == [upright]
    assert (got.width, got.height) == upright
    assert got.pixels.shape[:2] == (decoded[::-1] if orientation == 1 else decoded)
    red = got.pixels[4, 4] if orientation == 1 else got.pixels[4, -4]
    assert int(red[2]) > 200
    assert int(red[0]) < 60


def test_other_formats_are_decoded_whole() -> None:
    """Only JPEG's blocks can be reduced for less than they cost."""
    got = decode_picture(
        saved(picture(800, 600), "PNG"), max_pixels=MEGAPIXEL, enough=lambda *_: (10, 10)
    )
    assert got.pixels.shape[:2] == (600, 800)


def test_jpeg_pixels_are_those_of_opencv(photo: bytes) -> None:
    """The faster decoder gives the very pixels that `cv2.imread` gives Ultralytics."""
    expected = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode(photo, max_pixels=MEGAPIXEL), expected)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_jpegs_of_other_colours_become_three_channels(mode: str) -> None:
    """Grey and CMYK files have three channels after decoding."""
    assert decode(saved(picture().convert(mode), "JPEG"), max_pixels=MEGAPIXEL).shape == (32, 48, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_pngs_of_other_colours_become_three_channels(mode: str) -> None:
    """Palettes, transparency, 16 bits and 1 bit have three channels of 8 bits after decoding."""
    image = picture().convert("L").convert("I;16") if mode == "I;16" else picture().convert(mode)
    pixels = decode(saved(image, "PNG"), max_pixels=MEGAPIXEL)
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    """A file that a camera stored turned or mirrored is upright after decoding, whatever its format."""
    # How a camera stores an upright picture for each orientation: the inverse of what a viewer does.
    stored = {
        1: picture(),
        2: picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture().transpose(Image.Transpose.ROTATE_180),
        4: picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture().transpose(Image.Transpose.TRANSPOSE),
        6: picture().transpose(Image.Transpose.ROTATE_90),
        7: picture().transpose(Image.Transpose.TRANSVERSE),
        8: picture().transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(saved(stored, kind, exif=exif.tobytes()), max_pixels=MEGAPIXEL)
    assert pixels.shape == (32, 48, 3)
    assert pixels[4, 4, 0] < 60
    assert pixels[4, -4].min() > 200
    assert pixels[-4, 4].min() > 200


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_senseless_orientation_is_passed_over(value: int) -> None:
    """The picture counts, not what is wrong with its EXIF block."""
    exif = Image.Exif()
    exif[0x0112] = value
    assert (
        read_header(saved(picture(), "JPEG", exif=exif.tobytes()), max_pixels=MEGAPIXEL).orientation
        == 1
    )


def test_a_damaged_exif_block_is_passed_over() -> None:
    """An EXIF block that is noise does not cost the picture."""
    data = saved(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(64)))
    assert decode(data, max_pixels=MEGAPIXEL).shape == (32, 48, 3)


def test_an_empty_file_is_refused() -> None:
    """No bytes, no image."""
    assert reason_for(b"") == pb.ERROR_REASON_IMAGE_MISSING


@pytest.mark.parametrize(
    "data", [b"hello", b"\0" * 100, b"GIF89a" + b"\0" * 50, b"BM" + b"\0" * 60, b"%PDF-1.7"]
)
def test_what_is_no_accepted_image_is_refused(data: bytes) -> None:
    """Text, noise and other formats have a reason of their own."""
    assert reason_for(data) == pb.ERROR_REASON_UNSUPPORTED_IMAGE


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    """A file with more than one frame is none for this service."""
    data = saved(picture(), kind, save_all=True, append_images=[picture().rotate(90)], duration=100)
    assert reason_for(data) == pb.ERROR_REASON_ANIMATED_IMAGE


def test_a_jpeg_with_a_preview_inside_is_a_still() -> None:
    """Telephones write JPEGs with further pictures (MPO); the first one is the picture."""
    data = saved(picture(), "MPO", save_all=True, append_images=[picture(24, 16)])
    assert decode(data, max_pixels=MEGAPIXEL).shape == (32, 48, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels_are_refused_from_the_header(kind: str) -> None:
    """The limit is on width x height, and a picture at the limit passes."""
    data = saved(picture(), kind)
    assert decode(data, max_pixels=48 * 32).shape == (32, 48, 3)
    assert reason_for(data, max_pixels=48 * 32 - 1) == pb.ERROR_REASON_FRAME_TOO_LARGE


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_pixel_bomb_is_never_decoded(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A small file of very many pixels is refused before any decoder sees it."""
    bomb = saved(Image.new("1" if kind == "PNG" else "L", (8000, 8000)), kind)
    assert len(bomb) < 1_500_000
    for decoder, name in (
        (cv2, "imdecode"),
        (simplejpeg, "decode_jpeg"),
        (ImageFile.ImageFile, "load"),
    ):
        monkeypatch.setattr(decoder, name, lambda *_: pytest.fail("the bomb was decoded"))
    assert reason_for(bomb, max_pixels=50_000_000) == pb.ERROR_REASON_FRAME_TOO_LARGE


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_is_read_without_decoding(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nor is a picture that is acceptable decoded for its orientation's sake."""
    data = saved(picture(), kind)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    assert read_header(data, max_pixels=MEGAPIXEL).orientation == 1


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(photo: bytes, kind: str, share: float) -> None:
    """A file that ends early is not answered with half a picture."""
    data = (
        photo if kind == "JPEG" else saved(Image.open(io.BytesIO(photo)).resize((128, 128)), kind)
    )
    assert reason_for(data[: int(len(data) * share)]) == pb.ERROR_REASON_TRUNCATED_IMAGE


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused(photo: bytes) -> None:
    """The end mark of the thumbnail in the header is not taken for the picture's."""
    exif = Image.Exif()
    exif[0x010F] = "camera"
    thumbnail = saved(picture(16, 16), "JPEG")
    block = exif.tobytes() + thumbnail
    data = saved(Image.open(io.BytesIO(photo)), "JPEG", exif=block)
    assert data.count(b"\xff\xd9") == 2
    assert reason_for(data[: len(data) // 2]) == pb.ERROR_REASON_TRUNCATED_IMAGE


def test_a_jpeg_with_stray_bytes_is_decoded(photo: bytes) -> None:
    """Cameras write small faults; a viewer would show the picture, and so it is looked at."""
    scan = photo.index(b"\xff\xda")
    assert decode(photo[:scan] + b"\0" * 7 + photo[scan:], max_pixels=MEGAPIXEL).shape == (
        512,
        512,
        3,
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_data_is_refused(kind: str) -> None:
    """A file whose pixels cannot be decoded, though it is whole, is called damaged."""
    data = bytearray(saved(picture(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    middle = data.index(b"IDAT") + 6 if kind == "PNG" else 22
    data[middle : middle + 12] = bytes(12)
    assert reason_for(bytes(data)) in (
        pb.ERROR_REASON_CORRUPT_IMAGE,
        pb.ERROR_REASON_TRUNCATED_IMAGE,
    )


@given(
    data=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x64\0\0\0WEBP"]),
)
def test_noise_is_refused_and_never_more_than_that(data: bytes, start: bytes) -> None:
    """Whatever the bytes, the outcome is an image or a refusal, never another error."""
    try:
        pixels = decode(start + data, max_pixels=MEGAPIXEL)
    except FrameRefused as refused:
        assert str(refused)
    else:
        assert pixels.ndim == 3


@given(position=st.integers(0, 74_000), replacement=st.binary(min_size=1, max_size=8))
def test_a_jpeg_damaged_anywhere_is_an_image_or_refused(position: int, replacement: bytes) -> None:
    """Bytes changed anywhere in a real file lead to an image or a refusal, never to another error."""
    data = bytearray((Path(__file__).parents[2] / "models" / "astronaut.jpg").read_bytes())
    data[position : position + len(replacement)] = replacement
    try:
        assert decode(bytes(data), max_pixels=MEGAPIXEL).ndim == 3
    except FrameRefused as refused:
        assert str(refused)
