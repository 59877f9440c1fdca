"""Flags, variables, configuration file: in that order."""

from pathlib import Path
from typing import Any

import pytest
from crowd_detector.cli import options
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from hypothesis import given
from hypothesis import strategies as st

NOWHERE = {"XDG_CONFIG_HOME": "/nowhere"}
values = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
layers = st.fixed_dictionaries(
    {}, optional={"server": values, "token": values, "tls-server-name": values}
)


def test_nothing_said_is_the_service_on_this_machine() -> None:
    """In plain text, without a token."""
    assert options.connection({}, NOWHERE, None) == options.Connection("localhost:50051")


@given(flags=layers, variables=layers, file=layers)
def test_the_first_place_that_speaks_decides(
    flags: dict[str, Any], variables: dict[str, Any], file: dict[str, Any]
) -> None:
    """Setting by setting."""
    merged = file | variables | flags
    effective = options.resolve([flags, variables, file])
    assert effective.server == merged.get("server", "localhost:50051")
    assert effective.token == merged.get("token", "")
    assert effective.tls_server_name == merged.get("tls-server-name", "")
    assert effective.tls == ("tls-server-name" in merged)


def test_all_three_places_together(tmp_path: Path) -> None:
    """The file where neither a flag nor a variable speaks."""
    config = tmp_path / "crowd-detector" / "config.toml"
    config.parent.mkdir()
    config.write_text('server = "file:1"\ntoken = "f"\ntls-ca = "ca.pem"\n')
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "DETECTOR_TOKEN": "v",
        "DETECTOR_SERVER": "v:1",
    }
    effective = options.connection({"server": "flag:1", "token": None}, environment, None)
    assert effective == options.Connection("flag:1", "v", tls=True, tls_ca=config.parent / "ca.pem")


def test_a_nearer_token_file_beats_a_token(tmp_path: Path) -> None:
    """And the other way round: they are one setting."""
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert options.resolve([{"token-file": file}, {"token": "t"}]).token == "from-file"
    assert options.resolve([{"token": "t"}, {"token-file": file}]).token == "t"
    with pytest.raises(Failure, match="give one"):
        options.resolve([{"token": "t", "token-file": file}])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('sever = "a:1"', "there is no setting 'sever'; there are server, token"),
        ("server = 1", "server must be text in quotes"),
        ('tls = "yes"', "tls must be true or false"),
        ("server =", "is not TOML"),
    ],
)
def test_a_bad_file_is_said(tmp_path: Path, content: str, words: str) -> None:
    """With its name, and what there is."""
    path = tmp_path / "config.toml"
    path.write_text(content)
    with pytest.raises(Failure, match=words) as failure:
        options.connection({}, {"DETECTOR_CONFIG": str(path)}, None)
    assert failure.value.code is ExitCode.USAGE
    assert str(path) in str(failure.value)


@given(st.text())
def test_any_text_is_settings_or_a_sentence(text: str) -> None:
    """Whatever stands in the file."""
    try:
        options.from_config(text, Path("config.toml"))
    except Failure as failure:
        assert str(failure).startswith("config.toml")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """The usual one need not."""
    with pytest.raises(Failure, match="there is no such configuration file"):
        options.connection({}, {}, tmp_path / "config.toml")


def test_tls_can_be_refused() -> None:
    """By the nearest place: `--no-tls`."""
    effective = options.resolve([{"tls": False}, {"tls": True, "tls-server-name": "a"}])
    assert effective.tls is False


def test_a_token_that_is_no_text(tmp_path: Path) -> None:
    """A key of another kind, say."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(Failure, match="holds no token: it is not UTF-8 text") as failure:
        options.resolve([{"token-file": tmp_path / "token"}])
    assert failure.value.code is ExitCode.USAGE


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is meant by ~ in a variable too; where there is none, no file lies there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("t")
    assert options.connection({}, NOWHERE | {"DETECTOR_TOKEN_FILE": "~/token"}, None).token == "t"
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert options.connection({}, {}, None) == options.Connection("localhost:50051")


def homeless(path: Path) -> Path:
    """Do as for a user that the system does not know."""
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("true", True), ("YES", True), ("0", False), ("off", False)]
)
def test_a_switch_as_a_variable(text: str, on: bool) -> None:
    """In the usual words."""
    assert options.connection({}, NOWHERE | {"DETECTOR_TLS": text}, None).tls is on


def test_a_switch_that_is_neither() -> None:
    """Is named."""
    with pytest.raises(Failure, match="DETECTOR_TLS=maybe: it must be 1 or 0"):
        options.connection({}, NOWHERE | {"DETECTOR_TLS": "maybe"}, None)
