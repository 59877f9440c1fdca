"""TensorRT's engine files: what is written is read, what is none is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.detection.metadata import Metadata
from detector_service.engines import engine_file
from detector_service.errors import ModelError

PATH = Path("m.engine")
DESCRIBED = {
    "names": {0: "person", 1: "face"},
    "stride": 32,
    "imgsz": [384, 640],
    "task": "detect",
    "end2end": False,
}


@given(st.binary(max_size=200))
def test_what_ultralytics_writes_is_read(engine: bytes) -> None:
    """Its metadata, and every byte of the engine."""
    metadata, rest = engine_file.split(engine_file.join(DESCRIBED, engine), PATH)
    assert rest == engine
    assert Metadata.parse(metadata, PATH) == Metadata(("person", "face"), 32, 640, end_to_end=False)


def test_metadata_of_an_onnx_file_are_written_as_they_are() -> None:
    """There every value is a Python literal already."""
    literals = {key: str(value) for key, value in DESCRIBED.items()}
    metadata, _ = engine_file.split(engine_file.join(literals, b""), PATH)
    assert metadata == literals


@given(st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda text: text.encode())))
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    """A bare engine, an empty file, noise: the cure is named."""
    for noise in (data, len(data).to_bytes(4, "little") + data):
        with pytest.raises(ModelError, match=r"m\.engine: no TensorRT engine.*yolo export"):
            engine_file.split(noise, PATH)


@pytest.mark.parametrize("described", [None, [], {}, {"names": {"one": "person"}}, "[" * 9999])
def test_metadata_that_are_none_are_refused(described: object) -> None:
    """JSON of another shape."""
    text = described if isinstance(described, str) else json.dumps(described)
    with pytest.raises(ModelError, match="no TensorRT engine"):
        engine_file.split(len(text).to_bytes(4, "little") + text.encode(), PATH)
