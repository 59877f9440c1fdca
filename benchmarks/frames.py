"""The frames that every contender gets: varied 720p JPEGs, made from photographs, always the same."""

import importlib.util
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]

WIDTH: Final = 1280
HEIGHT: Final = 720
COUNT: Final = 96

_JPEG_QUALITY: Final = 85
_SEED: Final = 20_240_711
_MOST_PANELS: Final = 3
_ROOT: Final = Path(__file__).resolve().parent.parent


def write(folder: Path) -> list[Path]:
    """Write the frames into a folder; give their paths in order."""
    random = np.random.default_rng(_SEED)
    photographs = [_read(path) for path in _photographs()]
    paths = []
    for number in range(COUNT):
        path = folder / f"frame-{number:03}.jpg"
        done, data = cv2.imencode(
            ".jpg", _compose(photographs, random), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        assert done, "a JPEG can be made of any picture"
        path.write_bytes(data.tobytes())
        paths.append(path)
    return paths


def read(folder: Path) -> list[bytes]:
    """Read the frames that were written into a folder, in order."""
    return [path.read_bytes() for path in sorted(folder.glob("frame-*.jpg"))]


def _photographs() -> list[Path]:
    # Found without an import: that would load PyTorch into the process that measures.
    package = importlib.util.find_spec("ultralytics")
    assert package is not None, "`make bench` installs it"
    assert package.origin is not None, "it is a regular package"
    assets = Path(package.origin).parent / "assets"
    return [assets / "bus.jpg", assets / "zidane.jpg", _ROOT / "models" / "astronaut.jpg"]


def _read(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"benchmarks: {path} cannot be read as an image")
    return np.asarray(image, np.uint8)


def _compose(photographs: list[Image], random: np.random.Generator) -> Image:
    """Lay one to three pieces of photographs side by side, in other light, with a camera's noise."""
    edges = np.linspace(0, WIDTH, random.integers(1, _MOST_PANELS, endpoint=True) + 1).astype(int)
    panels = [
        _piece(photographs[random.integers(len(photographs))], int(width), random)
        for width in np.diff(edges)
    ]
    picture = np.concatenate(panels, axis=1).astype(np.float32)
    picture = picture * random.uniform(0.75, 1.2) + random.uniform(-12, 12)
    picture += random.normal(0, random.uniform(0.5, 2), picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _piece(photograph: Image, width: int, random: np.random.Generator) -> Image:
    """Cut a piece of the shape width x HEIGHT out of a photograph, anywhere and of any size."""
    photo_height, photo_width = photograph.shape[:2]
    # Not reduced: cameras do not give pictures that are sharper than their lenses.
    scale = min(photo_width / width, photo_height / HEIGHT, 1.0) * random.uniform(0.6, 1.0)
    cut_width, cut_height = int(width * scale), int(HEIGHT * scale)
    left = int(random.integers(photo_width - cut_width, endpoint=True))
    top = int(random.integers(photo_height - cut_height, endpoint=True))
    piece = photograph[top : top + cut_height, left : left + cut_width]
    if random.random() < 0.5:
        piece = piece[:, ::-1]
    return np.asarray(cv2.resize(piece, (width, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
