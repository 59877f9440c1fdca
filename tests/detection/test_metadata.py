"""What a model says of itself, and what is made of nonsense."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.detection.metadata import Metadata
from detector_service.errors import ModelError

PATH = Path("model.onnx")
GOOD = {
    "names": "{0: 'person', 1: 'face'}",
    "stride": "32",
    "imgsz": "[416, 416]",
    "task": "detect",
    "end2end": "False",
}


def test_what_ultralytics_writes_is_read() -> None:
    """Names in the order of outputs, stride, the longest side, and whether NMS is inside."""
    assert Metadata.parse(GOOD, PATH) == Metadata(("person", "face"), 32, 416, end_to_end=False)
    assert Metadata.parse(GOOD | {"imgsz": "640", "end2end": "True"}, PATH) == Metadata(
        ("person", "face"), 32, 640, end_to_end=True
    )
    assert Metadata.parse(GOOD | {"imgsz": "[384, 640]"}, PATH).input_size == 640


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "segment"}, "for the task 'segment'"),
        ({"task": "classify"}, "for the task 'classify'"),
        ({"names": "{0: 'a', 2: 'b'}"}, "cannot be understood"),
        ({"names": "{}"}, "cannot be understood"),
        ({"names": "__import__('os')"}, "cannot be understood"),
        ({"stride": "0"}, "cannot be understood"),
        ({"imgsz": "[]"}, "cannot be understood"),
    ],
)
def test_what_cannot_serve_is_named(change: dict[str, str], words: str) -> None:
    """The error names the file and what is wrong with it."""
    with pytest.raises(ModelError, match=r"^model\.onnx: ") as error:
        Metadata.parse(GOOD | change, PATH)
    assert words in str(error.value)


def test_a_file_without_metadata_is_told_how_to_get_it() -> None:
    """The cure is the command that exports it."""
    with pytest.raises(ModelError, match="yolo export format=onnx dynamic=True"):
        Metadata.parse({}, PATH)


@given(st.dictionaries(st.sampled_from(list(GOOD)), st.text(max_size=60)))
def test_noise_is_a_model_error(noise: dict[str, str]) -> None:
    """Whatever stands there, the outcome is metadata or a ModelError."""
    try:
        assert Metadata.parse(GOOD | noise, PATH).classes
    except ModelError as error:
        assert str(error)
