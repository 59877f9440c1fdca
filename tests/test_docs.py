"""The pages that list things list what there is."""

from crowd.detector.v1 import detector_pb2 as pb

from detector_service.settings import Settings
from tests.servers import ROOT


def table(page: str) -> list[list[str]]:
    """Return the rows of a page's tables whose first cell is code."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `")
    ]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def test_every_setting_is_listed_with_its_default() -> None:
    """No variable is missing, and none is made up."""
    listed = [(row[0], row[1].strip("`")) for row in table("configuration.md")]
    defaults = [
        (name.upper(), "" if field.default is None else str(field.default))
        for name, field in Settings.model_fields.items()
    ]
    assert sorted(listed) == sorted(defaults)


def test_every_reason_is_listed() -> None:
    """Those of errors and those of drops."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in pb.ErrorReason.keys()}  # noqa: SIM118 - no mapping
    drops = {name.removeprefix("DROP_REASON_") for name in pb.DropReason.keys()}  # noqa: SIM118
    assert {row[0] for row in table("errors.md")} == (reasons | drops) - {"UNSPECIFIED"}
