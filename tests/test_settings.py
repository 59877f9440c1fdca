"""Settings: defaults, sources, and errors that name the variable, the value and what is allowed."""

from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from detector_service.errors import ConfigurationError
from detector_service.settings import Settings, load_settings

DOCUMENTED = {
    "HOST": "0.0.0.0",
    "GRPC_PORT": "50051",
    "DEBUG": "False",
    "FACE_MODEL_PATH": "models/YOLO12n_finetuned/best.pt",
    "BODY_MODEL_PATH": "models/YOLO12n_pretrained/yolo12n.pt",
    "CONFIDENCE_THRESHOLD": "0.5",
    "CROWD_THRESHOLD": "10",
    "MAX_FRAME_SIZE": "1024",
    "USE_GPU": "True",
    "TENSORRT_ENABLED": "False",
    "LOG_LEVEL": "INFO",
    "LOG_FILE": "logs/app.log",
    "DATABASE_URL": "sqlite+aiosqlite:///./data/history.db",
    "ENGINE": "auto",
    "PRECISION": "auto",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test begins without variables and without a .env file."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_the_documented_ones() -> None:
    """Every variable of the contract that concerns the detector."""
    lines = dict(line.split("=", 1) for line in load_settings().described().splitlines())
    assert {name: lines[name] for name in DOCUMENTED} == DOCUMENTED


def test_the_environment_comes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables are read whatever their case; what the .env file has of others' is passed over."""
    (tmp_path / ".env").write_text("GRPC_PORT=1234\nCROWD_THRESHOLD=3\nPORT=8000\nUNKNOWN=1\n")
    monkeypatch.setenv("GRPC_PORT", "4321")
    monkeypatch.setenv("confidence_threshold", "0.25")
    settings = load_settings()
    assert (settings.grpc_port, settings.crowd_threshold, settings.confidence_threshold) == (
        4321,
        3,
        0.25,
    )


def test_it_is_known_whether_a_path_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it was set to the default; an empty variable is none."""
    assert not load_settings().face_model.was_set
    monkeypatch.setenv("FACE_MODEL_PATH", "./models/YOLO12n_finetuned/best.pt")
    monkeypatch.setenv("BODY_MODEL_PATH", "")
    assert load_settings().face_model.was_set
    assert not load_settings().body_model.was_set


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("GRPC_PORT", "70000", "less than or equal to 65535"),
        ("GRPC_PORT", "http", "valid integer"),
        ("CONFIDENCE_THRESHOLD", "1.5", "less than or equal to 1"),
        ("CONFIDENCE_THRESHOLD", "nan", "less than or equal to 1"),
        ("CROWD_THRESHOLD", "-1", "greater than or equal to 0"),
        ("CROWD_ALERT_LEVELS", "loud=1", "info, warning, error, critical"),
        ("ENGINE", "cuda", "'auto', 'openvino', 'torch' or 'tensorrt'"),
        ("PRECISION", "int4", "'auto', 'fp32', 'bf16', 'fp16' or 'int8'"),
        ("CALIBRATION_IMAGES", "/nowhere", "is no folder"),
        ("ENGINE_BATCH", "0", "greater than or equal to 1 (images)"),
        ("GPU_MEMORY_FRACTION", "0", "greater than 0"),
        ("DEBUG", "perhaps", "valid boolean"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO'"),
        ("MAX_FRAME_SIZE", "8", "greater than or equal to 32 (pixels)"),
        ("STREAM_WRITE_TIMEOUT", "0", "greater than 0 (seconds)"),
        ("AUTH_TOKENS_FILE", "/nowhere/tokens", "cannot be read: No such file"),
        ("DATABASE_URL", "mysql://x", "must begin with sqlite://"),
        ("REDIS_URL", "http://x", "must begin with redis://"),
    ],
)
def test_a_bad_value_names_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    """The variable, the value, and what is allowed."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert str(error.value).startswith(f"{name}={value}: ")
    assert allowed in str(error.value)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to mend them one by one."""
    monkeypatch.setenv("GRPC_PORT", "-1")
    monkeypatch.setenv("CROWD_THRESHOLD", "many")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert [line.split("=")[0] for line in str(error.value).splitlines()] == [
        "GRPC_PORT",
        "CROWD_THRESHOLD",
    ]


def test_what_does_not_fit_together_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Halves of a pair, a limit over another, an engine that is not there."""
    file = tmp_path / "file.pem"
    file.write_text("no certificate")
    for variables, words in (
        ({"TLS_CERT_FILE": str(file)}, "TLS_KEY_FILE is not"),
        ({"TLS_CLIENT_CA_FILE": str(file)}, "TLS_CERT_FILE and TLS_KEY_FILE are not"),
        ({"TLS_CERT_FILE": str(file), "TLS_KEY_FILE": str(file)}, "no certificate with its key"),
        ({"MAX_MESSAGE_BYTES": "40000", "MAX_FRAME_BYTES": "40000"}, "must be at least 65536 more"),
        ({"MAX_BATCH_FRAMES": "8", "MAX_QUEUED_FRAMES": "4"}, "could never be taken"),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(ConfigurationError, match=words):
                load_settings()


def test_a_certificate_must_belong_to_its_key(tmp_path: Path) -> None:
    """Two halves of different pairs are refused at start, not at the first handshake."""
    one, other = (trustme.CA().issue_cert("localhost") for _ in range(2))
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(certificate)
    other.private_key_pem.write_to_path(key)
    with pytest.raises(ConfigurationError, match="TLS_KEY_FILE="):
        load_settings(tls_cert_file=certificate, tls_key_file=key)
    one.private_key_pem.write_to_path(key)
    assert load_settings(tls_cert_file=certificate, tls_key_file=key).tls_key_file == key


def test_passwords_are_not_shown() -> None:
    """Neither when settings are printed nor in a complaint about them."""
    shown = load_settings(
        database_url="postgresql+asyncpg://user:hunter2@db/history",
        redis_url="redis://:hunter2@cache:6379/0",
    ).described()
    assert "hunter2" not in shown
    assert "DATABASE_URL=postgresql+asyncpg://user:***@db/history" in shown
    assert (
        "hunter2"
        not in load_settings(database_url="postgresql://db/x?password=hunter2").described()
    )
    for name, value in (
        ("database_url", "oracle://user:hunter2@db/history"),
        ("database_url", "hunter2@db"),
        ("redis_url", "http://:hunter2@cache"),
        ("redis_url", "u:hunter2@cache"),
        ("redis_url", "http://u:hunter2@[bad"),
    ):
        with pytest.raises(ConfigurationError) as error:
            load_settings(**{name: value})
        assert "hunter2" not in str(error.value)
    for value in (
        "redis://u:hunter2@[bad",
        "redis://:p#hunter2@host/0",
        "redis://u:pa/hunter2@host",
        "redis://u:pa?hunter2@h",
    ):
        assert "hunter2" not in load_settings(redis_url=value).described()


@given(
    name=st.sampled_from(sorted(Settings.model_fields)),
    value=st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20),
)
def test_any_text_is_a_setting_or_a_complaint(name: str, value: str) -> None:
    """Whatever is written into a variable, no other error comes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name.upper(), value)
        try:
            assert load_settings().described()
        except ConfigurationError as error:
            assert name.upper() in str(error)
