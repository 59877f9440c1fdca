"""The demo, as `make demo` runs it."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.servers import ROOT


def demo(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run it in a folder of its own."""
    script = ROOT / "clients" / "python" / "examples" / "demo.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_finds_and_draws_a_person_and_a_face(tmp_path: Path) -> None:
    """Exit code 0, the findings in words, and the photograph with boxes in it."""
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "face 0." in done.stdout
    assert "body 0." in done.stdout
    assert done.stdout.endswith("with a photograph of yours.\n")
    assert done.stderr == ""
    drawn = cv2.imread(str(tmp_path / "demo.jpg"))
    photo = cv2.imread(str(ROOT / "models" / "astronaut.jpg"))
    assert drawn is not None
    assert photo is not None
    assert drawn.shape == photo.shape
    assert np.abs(drawn.astype(int) - photo).max() > 100


def test_a_photograph_of_nobody_is_1(tmp_path: Path) -> None:
    """Unless a person and a face are found."""
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros((64, 64, 3), np.uint8))
    done = demo(tmp_path, str(blank))
    assert done.returncode == 1
    assert "0 people: 0 faces, 0 bodies; crowd level empty" in done.stdout


def test_what_is_no_photograph_is_said(tmp_path: Path) -> None:
    """In the service's own words, exit code 1."""
    note = tmp_path / "note.jpg"
    note.write_text("hello")
    done = demo(tmp_path, str(note))
    assert done.returncode == 1
    assert "not a JPEG, PNG or WebP image" in done.stderr


def test_a_service_that_does_not_start_is_said(tmp_path: Path) -> None:
    """At once, with its exit code, below its own message."""
    done = demo(tmp_path, FACE_MODEL_PATH="/nowhere/model.onnx")
    assert done.returncode == 1
    assert "FACE_MODEL_PATH=/nowhere/model.onnx" in done.stderr
    assert "the service ended with exit code 1" in done.stderr


def test_a_photograph_that_is_not_there_is_said(tmp_path: Path) -> None:
    """By its name."""
    done = demo(tmp_path, "nowhere.jpg")
    assert done.returncode == 1
    assert done.stderr == "demo: [Errno 2] No such file or directory: 'nowhere.jpg'\n"


def test_a_drawing_of_no_known_kind_is_said(tmp_path: Path) -> None:
    """Before anything is started."""
    done = demo(tmp_path, "--out", "demo.nope")
    assert done.returncode == 2
    assert "--out demo.nope: its name does not end like an image's" in done.stderr
