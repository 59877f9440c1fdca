"""`detector detect`, as a process against a real service."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from .conftest import PHOTO

Detector = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(path: Path) -> Image.Image:
    """Read all of an image."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


def test_a_line_for_each_image(detector: Detector, tmp_path: Path) -> None:
    """In the order given, of a file, a folder and standard input; the right counts in each."""
    Image.new("RGB", (64, 64)).save(tmp_path / "nobody.png")
    done = detector("detect", PHOTO, tmp_path, "-", stdin=PHOTO.read_bytes())
    assert (done.returncode, done.stderr) == (0, "")
    first, nobody, last = lines(done)
    assert [first["path"], nobody["path"], last["path"]] == [
        str(PHOTO),
        str(tmp_path / "nobody.png"),
        "-",
    ]
    assert first["crowd"]["face_count"] == len(first["faces"]) >= 1
    assert (first["width"], first["height"]) == (512, 512)
    assert nobody["crowd"]["level"] == "empty"
    assert last["faces"] == first["faces"]


def test_settings_are_sent(detector: Detector) -> None:
    """A threshold that nothing reaches, and a crowd of one."""
    (nothing,) = lines(detector("detect", PHOTO, "--confidence", "1"))
    assert nothing["crowd"]["total_people"] == 0
    (warned,) = lines(detector("detect", PHOTO, "--crowd-threshold", "0"))
    assert [alert["type"] for alert in warned["alerts"]] == ["crowd_warning"]


def test_annotated_images(detector: Detector, tmp_path: Path) -> None:
    """Below another folder as they lie below theirs, in their own format, upright; names twice are kept apart."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    photo = load(PHOTO)
    photo.save(folder / "a.webp")
    photo.convert("P").save(folder / "sub" / "b.png")
    sideways = photo.rotate(90, expand=True).resize((256, 128))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter
    sideways.save(folder / "c.jpg", exif=exif)
    done = detector(
        "detect", folder, folder / "a.webp", "-", "--save", out, stdin=PHOTO.read_bytes()
    )
    assert done.returncode == 0, done.stderr
    assert f"5 annotated in {out}" in done.stderr
    written = {str(path.relative_to(out)): load(path) for path in out.rglob("*.*")}
    assert {name: image.format for name, image in written.items()} == {
        "a.webp": "WEBP",
        "a-2.webp": "WEBP",
        "sub/b.png": "PNG",
        "c.jpg": "JPEG",
        "standard-input.jpg": "JPEG",
    }
    assert written["c.jpg"].size == (128, 256)
    assert ImageChops.difference(written["sub/b.png"], photo.convert("RGB")).getbbox() is not None


def test_what_was_looked_at_is_never_replaced(detector: Detector, tmp_path: Path) -> None:
    """Neither by its own annotated picture nor by another's; that is known before anything is sent."""
    path, other = tmp_path / "photo.jpg", tmp_path / "other" / "photo.jpg"
    other.parent.mkdir()
    path.write_bytes(PHOTO.read_bytes())
    other.write_bytes(PHOTO.read_bytes())
    for looked_at in ([path], [other, path], [path, other]):
        done = detector("detect", *looked_at, "--save", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "save to another folder" in done.stderr
        assert path.read_bytes() == other.read_bytes() == PHOTO.read_bytes()


def test_a_number_leads_to_no_image_that_is_looked_at(detector: Detector, tmp_path: Path) -> None:
    """Names that come twice get numbers; those are passed over that name one of the images."""
    files = [tmp_path / name for name in ("a/x.png", "b/x.png", "c/y.png")]
    for file in files:
        file.parent.mkdir()
        Image.new("RGB", (32, 32)).save(file)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x-2.png").hardlink_to(files[-1])
    done = detector("detect", *files, "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "x-2.png").samefile(files[-1])
    assert (tmp_path / "out" / "x-3.png").exists()


def test_a_phones_image_of_several(detector: Detector, tmp_path: Path) -> None:
    """MPO: a JPEG with more behind it; the first is looked at and annotated."""
    photo = load(PHOTO)
    photo.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[photo])
    done = detector("detect", tmp_path / "phone.jpg", "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "out" / "phone.jpg").format == "JPEG"


def test_what_cannot_be_answered_does_not_harm_the_others(
    detector: Detector, tmp_path: Path
) -> None:
    """A line with the reason each, exit code 1."""
    (tmp_path / "note.jpg").write_text("hello")
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:5000])
    (tmp_path / "huge.jpg").write_bytes(b"")
    with (tmp_path / "huge.jpg").open("r+b") as file:
        file.truncate(33 * 1024 * 1024)  # a hole, not a file
    done = detector("detect", tmp_path, PHOTO, "--save", tmp_path / "out")
    assert done.returncode == 1
    assert "detector: 3 of 4 images could not be answered\n" in done.stderr
    reasons = {
        Path(line["path"]).name: line["error"]["reason"] for line in lines(done) if "error" in line
    }
    assert reasons == {
        "cut.jpg": "TRUNCATED_IMAGE",
        "note.jpg": "UNSUPPORTED_IMAGE",
        "huge.jpg": "FRAME_TOO_LARGE",
    }
    assert (tmp_path / "out" / PHOTO.name).exists()


def test_an_endless_input_is_too_large(detector: Detector) -> None:
    """That is seen without reading it to its end."""
    done = detector("detect", "/dev/zero")
    assert done.returncode == 1
    assert lines(done)[0]["error"]["reason"] == "FRAME_TOO_LARGE"


def test_a_file_that_goes_away_in_between(detector: Detector, tmp_path: Path) -> None:
    """Or cannot be read for another reason: a folder that claims to be an image."""
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    done = detector("detect", tmp_path)
    assert done.returncode == 1
    assert lines(done)[0]["error"] == {
        "reason": "IMAGE_MISSING",
        "message": "cannot be read: No such file or directory",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "an empty name is no image"),
        ([str(PHOTO), "--save", str(PHOTO)], "is a file"),
        (["nowhere.jpg"], "nowhere.jpg: there is no such file or folder"),
        (["."], ".: no image there (.jpeg, .jpg, .png, .webp)"),
        (["*.gif"], "*.gif: no file fits this pattern"),
        ([], "Missing argument 'PATH'"),
        (["a.jpg", "--confidence", "2"], "--confidence"),
        (["a.jpg", "--colour"], "No such option: --colour"),
    ],
)
def test_wrong_usage_is_2(
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """One sentence."""
    monkeypatch.chdir(tmp_path)
    done = detector("detect", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("detector: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_full_disk_leaves_no_half_of_an_image(detector: Detector, tmp_path: Path) -> None:
    """Those before it are whole."""
    small, big = tmp_path / "1.png", tmp_path / "2.png"
    Image.new("RGB", (32, 32)).save(small)
    load(PHOTO).save(big)

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = detector("detect", small, big, "--save", tmp_path / "out", before=limit)
    assert done.returncode == 6
    assert f"detector: {tmp_path / 'out' / '2.png'}: File too large\n" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.png"]
    load(tmp_path / "out" / "1.png")
