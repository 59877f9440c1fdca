"""The model that ships is the one that its card describes."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector_service.model_commands.surroundings import Way
from tests.conftest import ROOT
from tests.training.photographs import photographs
from training import service_engines
from training.data import CLASSES
from training.finders import Finder

MODELS = ROOT / "models"
CARD = (MODELS / "README.md").read_text()
PERSON, FACE = (CLASSES.index(name) for name in ("person", "face"))
#: What the card tells of each photograph: people there and found, faces there and found.
ROWS = {
    name: tuple(int(figure) for figure in figures)
    for name, *figures in re.findall(r"^\| (\w+) \|" + r" (\d+) \|" * 4 + "$", CARD, re.MULTILINE)
}
#: So many more or fewer are found by another processor's arithmetic.
TOLERANCE = 1
#: Where a face's middle and a body's middle really are, in pixels.
PLACES = {
    "astronaut": ((224, 115), (235, 330)),
    "admiral": ((265, 215), (230, 480)),
    "camera": ((220, 160), (120, 330)),
}


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finder]:
    """The file that ships, in the service's own engine, at 32 bits; a copy, so that nothing is built beside it."""
    model = Path(shutil.copy(MODELS / "crowd-n.onnx", tmp_path_factory.mktemp("card")))
    here, _ = service_engines.ways(model)
    with service_engines.loaded(model, Way("openvino", "fp32"), here, 416) as (_, found):
        yield found


def test_the_files_are_those_that_the_card_names() -> None:
    """By their SHA-256."""
    listed = dict(re.findall(r"`(crowd-n\.\w+)` ([0-9a-f]{64})", CARD))
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in MODELS.glob("crowd-n.*")
    }


def test_the_card_tells_of_every_photograph() -> None:
    """And of no other."""
    assert set(ROWS) == set(photographs())


@pytest.mark.parametrize("name", ROWS)
def test_it_finds_what_the_card_says(finder: Finder, name: str) -> None:
    """In photographs that it has not learnt from, to within one; also what it finds that is not there."""
    found = finder(photographs()[name])
    people, faces = (int((found[index][:, 4] > 0.5).sum()) for index in (PERSON, FACE))
    _, people_told, _, faces_told = ROWS[name]
    assert abs(people - people_told) <= TOLERANCE, f"{people} people found, {people_told} told"
    assert abs(faces - faces_told) <= TOLERANCE, f"{faces} faces found, {faces_told} told"


@pytest.mark.parametrize("name", PLACES)
def test_its_surest_boxes_are_where_people_are(finder: Finder, name: str) -> None:
    """The face and the body."""
    found = finder(photographs()[name])
    for index, (x, y) in zip((FACE, PERSON), PLACES[name], strict=True):
        x1, y1, x2, y2, confidence = found[index][0]
        assert confidence > 0.5
        assert x1 < x < x2
        assert y1 < y < y2
