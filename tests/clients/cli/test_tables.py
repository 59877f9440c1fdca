"""Tables hold what they show."""

import io
import sys
from dataclasses import replace

import pytest
from crowd_detector import Frame
from crowd_detector.cli.printable import printable
from crowd_detector.cli.tables import ImagesTable
from rich.console import Console

from .test_annotate import result


@pytest.mark.parametrize(("columns", "heads"), [(80, ["density", "ms"]), (40, ["level"])])
def test_a_narrow_terminal(columns: int, heads: list[str]) -> None:
    """Has no room for the last columns; what is shown stays whole."""
    console = Console(width=columns, file=io.StringIO())
    table = ImagesTable()
    table.add("photo.jpg", result(8, 8, [], []))
    with console.capture() as captured:
        console.print(table)
    head, row, *rest = captured.get().splitlines()
    assert head.split()[-len(heads) :] == heads
    assert row.split()[:4] == ["photo.jpg", "0", "0", "0"]
    assert not rest


def test_a_name_moves_no_cursor() -> None:
    """Whatever stands in it; what looks like a picture's name is none."""
    assert printable("\x1b[2Ja\n:cat: \udcff") == "\ufffd[2Ja\ufffd:cat: \ufffd"


def test_a_table_of_images_holds_no_image() -> None:
    """However many there are."""
    content = b"JPEG " * 1000
    before = sys.getrefcount(content)
    table = ImagesTable()
    table.add("photo.jpg", replace(result(8, 8, [], []), frame=Frame(content)))
    assert table
    assert sys.getrefcount(content) == before
