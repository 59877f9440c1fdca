"""Annotated images, each written whole or not at all."""

import io
from pathlib import Path, PurePath

import pytest
from crowd_detector.cli.saving import ImageSaver, NotDrawnError
from PIL import Image

from .conftest import PHOTO
from .test_annotate import result


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "photo.png"])
def test_a_name_of_any_length(tmp_path: Path, name: str) -> None:
    """As long as the file system allows it; nothing else lies there afterwards."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    ImageSaver(tmp_path, []).save(buffer.getvalue(), result(8, 8, [], []), PurePath(name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [b"", b"hello", PHOTO.read_bytes()[:5000]])
def test_what_pillow_cannot_read_is_told_apart(tmp_path: Path, content: bytes) -> None:
    """It is one image's failure, and leaves no file."""
    saver = ImageSaver(tmp_path, [])
    with pytest.raises(NotDrawnError):
        saver.save(content, result(8, 8, [], []), PurePath("photo.jpg"))
    assert not list(tmp_path.iterdir())
    assert saver.written == 0
