"""Photographs for calibration: which, and as the model sees them. TensorRT itself was not run."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector_service.builds import calibration
from detector_service.errors import ModelError
from tests.servers import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A blue wide picture, the astronaut in a folder within, and files that are none."""
    blue = np.zeros((50, 100, 3), np.uint8)
    blue[..., 0] = 255
    cv2.imwrite(str(tmp_path / "a.png"), blue)
    (tmp_path / "more").mkdir()
    photo = (ROOT / "models" / "astronaut.jpg").read_bytes()
    (tmp_path / "more" / "b.JPG").write_bytes(photo)
    (tmp_path / "more" / "broken.jpg").write_bytes(b"none")
    (tmp_path / "note.txt").write_text("none")
    return tmp_path


def test_photographs_are_found_and_their_change_is_seen(folder: Path) -> None:
    """Those of folders within too; another photograph is another build."""
    photos = calibration.photographs(folder)
    assert [photo.name for photo in photos] == ["a.png", "b.JPG", "broken.jpg"]
    before = calibration.fingerprint(photos)
    assert calibration.fingerprint(calibration.photographs(folder)) == before
    photos[2].write_bytes(b"another")
    assert calibration.fingerprint(photos) != before


def test_of_many_some_from_everywhere_are_taken(tmp_path: Path) -> None:
    """As many as the bound allows."""
    for number in range(1100):
        (tmp_path / f"{number:04}.jpg").touch()
    photos = calibration.photographs(tmp_path)
    assert len(photos) <= 512
    assert photos[-1].name > "1090"


def test_batches_are_whole_and_as_the_model_sees_them(folder: Path) -> None:
    """Red-green-blue in [0, 1] within grey; the last batch is filled up; what is no image is passed over."""
    (batch,) = calibration.batches(calibration.photographs(folder), 4, 64)
    assert batch.shape == (4, 3, 64, 64)
    assert batch.dtype == np.float32
    wide = batch[0]
    np.testing.assert_allclose(wide[:, 32, 32], [0, 0, 1])
    np.testing.assert_allclose(wide[:, 8, 32], 114 / 255)
    assert 0.2 < batch[1].mean() < 0.8
    np.testing.assert_array_equal(batch[2], batch[0])
    two = list(calibration.batches(calibration.photographs(folder), 1, 32))
    assert len(two) == 2


def test_a_folder_without_photographs_is_an_error(tmp_path: Path) -> None:
    """It names the variable; so is one whose photographs are none."""
    with pytest.raises(ModelError, match=r"CALIBRATION_IMAGES=.*no photograph"):
        calibration.photographs(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(ModelError, match="can be read"):
        list(calibration.batches(calibration.photographs(tmp_path), 1, 32))
