"""Names that can be fetched."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_service.model_commands import catalogue
from detector_service.model_commands.catalogue import Source


def test_every_name_has_an_address_and_a_checksum_of_its_own() -> None:
    """All of the same maker's releases; the name is the file's."""
    known = catalogue.known()
    assert "yolo12n" in known
    for name, source in known.items():
        assert source.url.startswith("https://github.com/ultralytics/assets/releases/download/")
        assert source.file_name == f"{name}.pt"
    assert len({source.sha256 for source in known.values()}) == len(known)


@given(st.text())
def test_a_file_name_never_leads_elsewhere(path: str) -> None:
    """Whatever the address ends with."""
    try:
        source = Source.of(f"https://example.com/{path}", "0" * 64)
    except ValueError:
        return
    assert PurePosixPath(source.file_name).name == source.file_name
    assert source.file_name not in ("", ".", "..")


def test_an_escaped_slash_is_one() -> None:
    """And what stands before it no part of the name."""
    assert Source.of("https://example.com/..%2F..%2Fetc%2Fpasswd", "0" * 64).file_name == "passwd"
    with pytest.raises(ValueError, match="no file's name"):
        Source.of("https://example.com/a/%2E%2E", "0" * 64)
