"""Tables hold what they show."""

import sys
from dataclasses import replace

from crowd_detector import Frame
from crowd_detector.cli.tables import ImagesTable

from .test_annotate import result


def test_a_table_of_images_holds_no_image() -> None:
    """However many there are."""
    content = b"JPEG " * 1000
    before = sys.getrefcount(content)
    table = ImagesTable()
    table.add("photo.jpg", replace(result(8, 8, [], []), frame=Frame(content)))
    assert table
    assert sys.getrefcount(content) == before
