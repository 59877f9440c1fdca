"""The bridge's settings: environment variables and a ``.env`` file, checked at start."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bridge.errors import ConfigurationError

_MIB: Final = 1024 * 1024
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):(\d{1,5})")
_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#]+")
_MAX_PORT: Final = 65535


def _readable_file(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _addresses(text: str) -> str:
    items = _items(text)
    if not items:
        raise ValueError("must name at least one detector, as in localhost:50051")
    for item in items:
        match = _ADDRESS.fullmatch(item)
        if match is None or not 1 <= int(match[2]) <= _MAX_PORT:
            raise ValueError(f"{item!r} is no host:port; write it as in localhost:50051")
    return text


def _origins(text: str) -> str:
    for item in _items(text):
        if not _ORIGIN.fullmatch(item):
            raise ValueError(
                f"{item!r} is no origin; write it as the browser sends it, as in https://example.org, or *"
            )
    return text


_File = Annotated[Path, AfterValidator(_readable_file)]


class Settings(BaseSettings):
    """What an operator may set; the name of the environment variable is the field's in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # Where it listens, and how many share the work.
    host: str = "0.0.0.0"  # noqa: S104 - the documented default; the log says so when no token is asked for
    port: int = Field(8000, ge=0, le=_MAX_PORT, description="0 takes a free one")
    bridge_workers: int = Field(1, ge=1, le=64, description="processes")

    # The detectors.
    detector_address: Annotated[str, AfterValidator(_addresses)] = "localhost:50051"
    detector_tls: bool = False
    detector_ca_file: _File | None = None
    detector_cert_file: _File | None = None
    detector_key_file: _File | None = None
    detector_server_name: str = ""
    detector_token_file: _File | None = None
    detector_timeout: float = Field(20.0, ge=0.1, le=3600, description="seconds")

    # Who may come in.
    tls_cert_file: _File | None = None
    tls_key_file: _File | None = None
    auth_tokens_file: _File | None = None
    allowed_origins: Annotated[str, AfterValidator(_origins)] = ""
    max_concurrent_connections: int = Field(50, ge=1, le=100_000)
    max_connections_per_address: int = Field(0, ge=0, le=100_000, description="0: no limit")
    handshake_timeout: float = Field(10.0, gt=0, le=600, description="seconds")
    idle_timeout: float = Field(600.0, ge=0, le=86_400, description="seconds; 0: none")

    # What a connection may send and hold.
    max_websocket_message_bytes: int = Field(16 * _MIB, ge=1024, le=1024 * _MIB)
    max_frame_bytes: int = Field(32 * _MIB, ge=1024, le=1024 * _MIB)
    max_frame_rate: float = Field(
        100.0, ge=0, le=10_000, description="messages a second; 0: no limit"
    )
    max_frame_burst: int = Field(50, ge=1, le=10_000, description="messages")
    bridge_buffer_frames: int = Field(2, ge=1, le=32)
    bridge_buffer_bytes: int = Field(16 * _MIB, ge=1024, le=1024 * _MIB)
    websocket_compression: bool = False
    websocket_write_timeout: float = Field(20.0, gt=0, le=3600, description="seconds")
    ping_interval: float = Field(20.0, ge=0.1, le=3600, description="seconds")
    ping_timeout: float = Field(20.0, ge=0.1, le=3600, description="seconds")
    drain_timeout: float = Field(30.0, ge=0, le=3600, description="seconds")

    # Logs.
    debug: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_file: Path = Path("./logs/app.log")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        _both(self, "tls_cert_file", "tls_key_file")
        _both(self, "detector_cert_file", "detector_key_file")
        for name in ("detector_cert_file", "detector_server_name"):
            if getattr(self, name) and not self.speaks_tls_to_detector:
                raise ValueError(
                    f"{name.upper()} is set, but neither DETECTOR_TLS nor DETECTOR_CA_FILE is; it is for "
                    "TLS only"
                )
        if self.tls_cert_file and self.tls_key_file:
            self.server_tls()
        return self

    @property
    def detector_addresses(self) -> list[str]:
        """Each detector's host:port, once."""
        return list(dict.fromkeys(_items(self.detector_address)))

    @property
    def origins(self) -> list[str]:
        """The origins that may come in, as set; none means same origin and localhost."""
        return _items(self.allowed_origins)

    @property
    def speaks_tls_to_detector(self) -> bool:
        """Whether the detectors are called over TLS."""
        return self.detector_tls or self.detector_ca_file is not None

    def server_tls(self) -> ssl.SSLContext | None:
        """Return what the port speaks TLS with; None where it speaks plain text.

        Raises:
            ValueError: the files are no certificate with its key.
        """
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.tls_cert_file, self.tls_key_file, password=_no_password)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"TLS_CERT_FILE={self.tls_cert_file} and TLS_KEY_FILE={self.tls_key_file} are no "
                f"certificate with its key in PEM form, without a password ({error})"
            ) from error
        return context

    def described(self) -> str:
        """Return all settings as they apply, as lines of a .env file."""
        return "\n".join(
            f"{name.upper()}={value}"
            for name, value in self.model_dump().items()
            if value is not None
        )


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: names every variable that is not acceptable, its value, and what is.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(_complaint(dict(item)) for item in error.errors())
        ) from error


def _both(settings: Settings, certificate: str, key: str) -> None:
    given = {name for name in (certificate, key) if getattr(settings, name) is not None}
    if len(given) == 1:
        (name,) = given
        (missing,) = {certificate, key} - given
        raise ValueError(f"{name.upper()} is set, but {missing.upper()} is not; TLS needs both")


def _complaint(item: dict[str, Any]) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(message)
    name = str(item["loc"][0])
    field = Settings.model_fields.get(name)
    unit = f" ({field.description})" if field is not None and field.description else ""
    return f"{name.upper()}={item['input']}: {message[0].lower()}{message[1:]}{unit}"


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
