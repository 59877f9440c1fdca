"""Settings: what is not acceptable is named, with the cure."""

from pathlib import Path
from typing import Any

import pytest

from bridge.__main__ import log_path
from bridge.errors import ConfigurationError
from bridge.settings import load_settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 70000}, "PORT=70000"),
        ({"detector_address": "  "}, "at least one detector"),
        ({"detector_address": "a:1,b"}, "'b' is no host:port"),
        ({"detector_address": "a:99999"}, "'a:99999' is no host:port"),
        ({"detector_address": "http://a:1"}, "is no host:port"),
        ({"allowed_origins": "example.org"}, "is no origin"),
        ({"allowed_origins": "https://a.example/path"}, "is no origin"),
        ({"max_concurrent_connections": 0}, "MAX_CONCURRENT_CONNECTIONS=0"),
        ({"tls_cert_file": __file__}, "TLS_CERT_FILE is set, but TLS_KEY_FILE is not"),
        ({"tls_cert_file": __file__, "tls_key_file": __file__}, "no certificate with its key"),
        ({"detector_key_file": __file__}, "DETECTOR_KEY_FILE is set, but DETECTOR_CERT_FILE"),
        (
            {"detector_key_file": __file__, "detector_cert_file": __file__},
            "neither DETECTOR_TLS nor DETECTOR_CA_FILE",
        ),
        ({"detector_server_name": "a"}, "DETECTOR_SERVER_NAME is set, but neither DETECTOR_TLS"),
        ({"auth_tokens_file": "/no/such/file"}, "AUTH_TOKENS_FILE=/no/such/file: cannot be read"),
        ({"log_level": "LOUD"}, "LOG_LEVEL=LOUD"),
        ({"idle_timeout": -1}, "(seconds; 0: none)"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], words: str) -> None:
    """The text names variable, value and what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(_env_file=None, **settings)
    assert words in str(refused.value)


def test_several_detectors_and_origins() -> None:
    """Comma-separated, each once."""
    settings = load_settings(
        _env_file=None,
        detector_address="a:1, b:2,a:1, [::1]:3",
        allowed_origins="https://a.example, *",
    )
    assert settings.detector_addresses == ["a:1", "b:2", "[::1]:3"]
    assert settings.origins == ["https://a.example", "*"]
    assert not settings.speaks_tls_to_detector


def test_every_process_has_a_log_of_its_own() -> None:
    """Beside the detector's."""
    assert log_path(Path("logs/app.log")) == Path("logs/app.bridge.log")
    assert log_path(Path("logs/app.log"), 2) == Path("logs/app.bridge.2.log")
    assert log_path(Path("log")) == Path("log.bridge")
