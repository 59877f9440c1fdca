"""The pages that list things list what there is."""

import ast
import re

from crowd.detector.v1 import detector_pb2 as pb

from bridge import events, protocols, settings, translation
from bridge.errors import ErrorCode
from detector_service.settings import Settings
from telemetry.settings import OtelSettings
from tests import log_lines
from tests.servers import ROOT

#: How events are logged.
_LOGGING = ("_log.", "own_record", "summarise")


def table(page: str, heading: str = "") -> list[list[str]]:
    """Return the rows of a page's tables whose first cell is code; of one chapter, or of all."""
    text = (ROOT / "docs" / page).read_text()
    if heading:
        level = len(heading.partition(" ")[0])
        text = re.split(rf"\n#{{1,{level}}} ", text.partition(f"\n{heading}\n")[2])[0]
    lines = text.splitlines()
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


def test_every_variable_of_opentelemetrys_that_is_checked_is_listed() -> None:
    """With metrics or with traces."""
    pages = ((ROOT / "docs" / name).read_text() for name in ("metrics.md", "traces.md"))
    listed = set(re.findall(r"`(OTEL_\w+)`", "".join(pages)))
    assert listed == {name.upper() for name in OtelSettings.model_fields}


def test_every_reason_is_listed() -> None:
    """Those of errors and those of drops."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in pb.ErrorReason.keys()}  # noqa: SIM118 - no mapping
    drops = {name.removeprefix("DROP_REASON_") for name in pb.DropReason.keys()}  # noqa: SIM118
    assert {row[0] for row in table("errors.md")} == (reasons | drops) - {"UNSPECIFIED"}


def test_every_setting_of_the_bridge_is_listed_with_its_default() -> None:
    """No variable is missing, and none is made up."""
    rows = table("bridge.md", "## Configuration")
    defaults = [
        (name.upper(), "" if field.default is None else str(field.default))
        for name, field in settings.Settings.model_fields.items()
    ]
    assert [(row[0], row[1].strip("`")) for row in rows] == defaults


def test_what_both_processes_are_set_by_has_one_default() -> None:
    """They read the same environment."""
    for name in Settings.model_fields.keys() & settings.Settings.model_fields.keys():
        assert Settings.model_fields[name].default == settings.Settings.model_fields[name].default


def test_every_event_of_the_log_is_listed() -> None:
    """All that there are, and no others; each field has a type."""
    written = {
        argument.value
        for folder in ("bridge", "detector_service", "telemetry")
        for path in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith(_LOGGING)
        for argument in [node for each in call.args for node in ast.walk(each)]
        if isinstance(argument, ast.Constant) and "." in str(argument.value)
    }
    told_by_variable = {"detector.serving", "detector.not_serving"}
    assert written | told_by_variable == set(log_lines.EVENTS)
    assert {
        field for _, fields in log_lines.EVENTS.values() for field in fields
    } <= log_lines.FIELDS.keys()


def test_the_bridges_events_codes_and_subprotocols_are_listed() -> None:
    """All that there are, and no others."""
    listed = [row[0] for row in table("bridge.md", "## Events")]
    drops = {name for name in translation._DROP_REASONS.values() if name != "unspecified"}
    drops.add(translation._OTHER)
    assert set(listed) == {*events.names(events.Request), *events.names(events.Event), *drops}
    assert [row[0] for row in table("bridge.md", "## Error codes")] == list(ErrorCode)
    assert {row[0] for row in table("bridge.md", "## Subprotocols")} == set(protocols.PROTOCOLS)


def test_the_worked_examples_are_what_they_say() -> None:
    """The bytes on the page are read by the code."""
    text = (ROOT / "docs" / "bridge.md").read_text()
    framed, contract = (
        block for block in re.findall(r"```\n([0-9a-f \n]+)```", text) if block.strip()
    )
    taken = protocols.PROTOCOLS[protocols.JSON_BINARY].decode(bytes.fromhex(framed))
    frame_bytes, config_bytes = (bytes.fromhex(line) for line in contract.splitlines())
    frame = protocols.PROTOCOLS[protocols.PROTOBUF].decode(frame_bytes)
    for each in (taken, frame):
        assert isinstance(each, protocols.IncomingFrame)
        request = pb.StreamDetectionsRequest.FromString(each.frame.request())
        assert request.frame == pb.Frame(frame_id="7", encoded=b"\xff\xd8\xff\xd9")
    config = protocols.PROTOCOLS[protocols.PROTOBUF].decode(config_bytes)
    assert config == pb.StreamConfig(camera="door", buffer_frames=3)
