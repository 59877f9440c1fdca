"""Shards are read whole, or it is said what is wrong with which file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training import shards
from training import data
from training.errors import TrainingError


def test_pictures_come_with_their_boxes_and_what_they_are_labelled_for(tmp_path: Path) -> None:
    """Boxes are in pixels of the picture."""
    folder = shards.small_set(tmp_path, pictures=1)
    both, face, person = data.load(folder, "train")
    assert (person.name.split()[-1], person.size) == ("person/0", (64, 48))
    np.testing.assert_allclose(person.boxes, [[0, 19.2, 4.8, 44.8, 43.2]], atol=1e-4)
    np.testing.assert_allclose(face.boxes, [[1, 24, 8.4, 40, 20.4]], atol=1e-4)
    assert len(both.boxes) == 0
    assert [each.labelled for each in (person, face, both)] == [{0}, {1}, {0, 1}]


def test_splits_are_those_of_the_shards(tmp_path: Path) -> None:
    """And they are the same each time, however many shards there are."""
    splits: tuple[data.Split, ...] = ("train", "val")
    for split in splits:
        members: dict[str, bytes | str] = {
            f"face/{split}/images/{split}.png": shards.encoded(),
            f"face/{split}/labels/{split}.txt": shards.FACE,
        }
        shards.pack(tmp_path / f"{split}.tar", members)
    for split in splits:
        (picture,) = data.load(tmp_path, split)
        assert picture.name.endswith(f"face/{split}")


def test_a_part_is_taken_from_all_over(tmp_path: Path) -> None:
    """So many of each group, the same each time."""
    folder = shards.small_set(tmp_path, pictures=4)
    names = [picture.name.split()[-1] for picture in data.load(folder, "val", most=2)]
    assert names == ["both/0", "both/2", "face/0", "face/2", "person/0", "person/2"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"face/val/images/a.png": shards.encoded()}, "face/a has no label file"),
        ({"face/val/labels/a.txt": ""}, "face/a has no picture"),
        (
            {"face/val/images/a.png": b"GIF89a", "face/val/labels/a.txt": ""},
            "face/a: not an image, or truncated",
        ),
        (
            {"face/val/images/a.png": b"", "face/val/labels/a.txt": ""},
            "face/a: not an image, or truncated",
        ),
        (
            {"face/val/images/a.png": shards.encoded(), "face/val/labels/a.txt": shards.PERSON},
            "face/a: its label file: line 1 is of class 0, and 'face' pictures are labelled for",
        ),
        (
            {"face/val/images/a.png": shards.encoded(), "face/val/labels/a.txt": b"\xff\xfe"},
            "face/a: its label file: .* can't decode",
        ),
        ({"dog/val/images/a.png": shards.encoded()}, "dog/val/images/a.png is not GROUP/SPLIT/"),
        ({"face/train/images/a.png": shards.encoded(), "face/train/labels/a.txt": ""}, "'val'"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(
    tmp_path: Path, members: dict[str, bytes | str], said: str
) -> None:
    """With the name of the file in the shard."""
    folder = shards.pack(tmp_path / "a.tar", members)
    with pytest.raises(TrainingError, match=said):
        data.load(folder, "val")


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    """Not read as far as it goes."""
    folder = shards.small_set(tmp_path)
    shard = folder / "small.tar"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(TrainingError, match=r"small\.tar: damaged or truncated"):
        data.load(folder, "val")
    shard.write_bytes(b"no archive" * 100)
    with pytest.raises(TrainingError, match="damaged or truncated"):
        data.load(folder, "val")


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    """With the option that named it."""
    with pytest.raises(TrainingError, match=r"--data .*there are no shards"):
        data.load(tmp_path, "train")


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.5",
        "0 0.5 0.5 0.5 0.5 0.5",
        "person 0.5 0.5 0.5 0.5",
        "2 0.5 0.5 0.5 0.5",
        "0.5 0.5 0.5 0.5 0.5",
        "0 0.5 0.5 0.5 nan",
        "0 0.5 0.5 0.5 0",
        "0 1.5 0.5 0.5 0.5",
        "0 -0.1 0.5 0.5 0.5",
    ],
)
def test_a_line_that_is_no_box_is_refused(line: str) -> None:
    """With its number."""
    with pytest.raises(ValueError, match="line 2"):
        data.parse_labels(f"{shards.PERSON}{line}\n", "person", 100, 100)


@given(text=st.text(st.sampled_from("01.5e- \nx"), max_size=60))
def test_whatever_a_label_file_holds_gives_boxes_or_a_reason(text: str) -> None:
    """Boxes lie in the picture."""
    try:
        boxes = data.parse_labels(text, "both", 40, 30)
    except ValueError as error:
        assert "line" in str(error)
        return
    assert boxes.shape == (len([line for line in text.splitlines() if line.strip()]), 5)
    assert (boxes[:, 1:] >= 0).all()
    assert (boxes[:, 1:] <= [40, 30, 40, 30]).all()
