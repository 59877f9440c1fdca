"""The detector's settings: environment variables and a ``.env`` file, checked at start."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from detector_service.crowd.alerts import CrowdAlertLevels
from detector_service.detection.model_files import Choice
from detector_service.engines import GpuOptions
from detector_service.errors import ConfigurationError
from detector_service.frame_settings import (
    DEFAULT_PRIORITY,
    MAX_CROWD_THRESHOLD,
    MAX_FRAME_RATE,
    MAX_PRIORITY,
    MAX_WAITING_FRAMES,
)

_MIB: Final = 1024 * 1024
#: Settings that may hold passwords.
_URLS: Final = ("database_url", "redis_url")


def _readable_file(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError("is no folder")
    return path


def _alert_levels(text: str) -> str:
    CrowdAlertLevels.parse(text)
    return text


def _url(*schemes: str) -> AfterValidator:
    def check(text: str) -> str:
        # Not urlsplit(text).scheme, which fails on some texts.
        if text.partition("://")[0] not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return AfterValidator(check)


_File = Annotated[Path, AfterValidator(_readable_file)]


class Settings(BaseSettings):
    """What an operator may set; the name of the environment variable is the field's in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # Where it listens, and who may come in.
    host: str = "0.0.0.0"  # noqa: S104 - the documented default; the log says so when no token is asked for
    grpc_port: int = Field(50051, ge=0, le=65535, description="0 takes a free one")
    admin_port: Annotated[int, Field(ge=0, le=65535)] | Literal["off"] = Field(
        9464, description="0 takes a free one; `off` opens none"
    )
    tls_cert_file: _File | None = None
    tls_key_file: _File | None = None
    tls_client_ca_file: _File | None = None
    auth_tokens_file: _File | None = None
    admin_tokens_file: _File | None = None

    # Models and how they run.
    face_model_path: Path = Path("./models/YOLO12n_finetuned/best.pt")
    body_model_path: Path = Path("./models/YOLO12n_pretrained/yolo12n.pt")
    engine: Literal["auto", "openvino", "torch", "tensorrt"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    calibration_images: Annotated[Path, AfterValidator(_folder)] | None = None
    use_gpu: bool = True
    allow_unsafe_models: bool = False
    tensorrt_enabled: bool = False
    engine_batch: int = Field(32, ge=1, le=256, description="images")
    gpu_memory_fraction: float = Field(0.9, gt=0, le=1)
    cuda_graphs: bool = True
    max_frame_size: int = Field(1024, ge=32, le=8192, description="pixels")
    decode_scale: Literal["full", "reduced"] = "full"
    workers: int = Field(0, ge=0, le=256, description="threads; 0 suits the machine")
    engine_threads: int = Field(0, ge=0, le=1024, description="threads; 0 suits the machine")

    # What is looked for.
    confidence_threshold: float = Field(0.5, ge=0, le=1)
    crowd_threshold: int = Field(10, ge=0, le=MAX_CROWD_THRESHOLD, description="people")
    crowd_alert_levels: Annotated[str, AfterValidator(_alert_levels)] = "warning=1"

    # Limits.
    max_image_pixels: int = Field(50_000_000, ge=4096, le=1_000_000_000)
    max_frame_bytes: int = Field(32 * _MIB, ge=1024, le=1024 * _MIB)
    max_message_bytes: int = Field(64 * _MIB, ge=1024, le=2047 * _MIB)
    max_batch_frames: int = Field(32, ge=1, le=1024)
    max_queued_frames: int = Field(64, ge=1, le=100_000, description="of unary calls")
    max_buffered_bytes: int = Field(512 * _MIB, ge=2048, le=1024 * 1024 * _MIB)
    unary_priority: int = Field(
        DEFAULT_PRIORITY, ge=1, le=MAX_PRIORITY, description="of all unary calls together"
    )
    max_streams: int = Field(256, ge=1, le=100_000)
    max_stream_frame_rate: float = Field(
        0.0, ge=0, le=MAX_FRAME_RATE, description="frames a second; 0: no limit"
    )
    stream_buffer_frames: int = Field(1, ge=1, le=MAX_WAITING_FRAMES)
    stream_write_timeout: float = Field(30.0, gt=0, le=3600, description="seconds")
    keepalive_time: float = Field(60.0, ge=1, le=7200, description="seconds")
    keepalive_timeout: float = Field(20.0, ge=0.1, le=600, description="seconds")
    drain_timeout: float = Field(30.0, ge=0, le=3600, description="seconds")

    # What is taken for a fault.
    health_interval: float = Field(2.0, ge=0, le=600, description="seconds; 0: never")
    watchdog_timeout: float = Field(30.0, ge=0, le=3600, description="seconds; 0: no limit")

    # Logs.
    debug: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_file: Path = Path("./logs/app.log")

    # Shared with what is not part of this version; checked, so that a slip does not wait until it is.
    database_url: Annotated[
        str, _url("sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg")
    ] = "sqlite+aiosqlite:///./data/history.db"
    redis_url: Annotated[str, _url("redis", "rediss", "unix")] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given, missing = (
                ("TLS_CERT_FILE", "TLS_KEY_FILE")
                if self.tls_cert_file
                else ("TLS_KEY_FILE", "TLS_CERT_FILE")
            )
            raise ValueError(f"{given} is set, but {missing} is not; TLS needs both")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError(
                "TLS_CLIENT_CA_FILE is set, but TLS_CERT_FILE and TLS_KEY_FILE are not; mTLS needs all three"
            )
        if self.tls_cert_file and self.tls_key_file:
            _check_tls(self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)
        if self.precision == "int8" and self.calibration_images is None:
            raise ValueError(
                "PRECISION=int8 is set, but CALIBRATION_IMAGES is not; name a folder of photographs like those that "
                "will come, some hundreds"
            )
        if self.max_message_bytes < self.max_frame_bytes + 64 * 1024:
            raise ValueError(
                f"MAX_MESSAGE_BYTES={self.max_message_bytes} leaves no room for a frame of "
                f"MAX_FRAME_BYTES={self.max_frame_bytes}; it must be at least 65536 more"
            )
        if self.max_buffered_bytes < 2 * self.max_message_bytes:
            raise ValueError(
                f"MAX_BUFFERED_BYTES={self.max_buffered_bytes} leaves no room for a message of "
                f"MAX_MESSAGE_BYTES={self.max_message_bytes} beside others; it must be at least twice that"
            )
        if self.max_batch_frames > self.max_queued_frames:
            raise ValueError(
                f"MAX_BATCH_FRAMES={self.max_batch_frames} is more than "
                f"MAX_QUEUED_FRAMES={self.max_queued_frames}, so the largest batches could never be taken"
            )
        return self

    @property
    def face_model(self) -> Choice:
        """The face model's path, and whether it was set."""
        return Choice(
            "FACE_MODEL_PATH", self.face_model_path, "face_model_path" in self.model_fields_set
        )

    @property
    def body_model(self) -> Choice:
        """The body model's path, and whether it was set."""
        return Choice(
            "BODY_MODEL_PATH", self.body_model_path, "body_model_path" in self.model_fields_set
        )

    @property
    def gpu(self) -> GpuOptions:
        """Whether and how a GPU is used."""
        return GpuOptions(
            use=self.use_gpu,
            tensorrt=self.tensorrt_enabled,
            batch=self.engine_batch,
            memory_fraction=self.gpu_memory_fraction,
            graphs=self.cuda_graphs,
            calibration=self.calibration_images,
        )

    def described(self) -> str:
        """Return all settings as they apply, as lines of a .env file; passwords are hidden."""
        return "\n".join(
            f"{name.upper()}={_shown(name, value)}"
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


def _complaint(item: dict[str, Any]) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(message)
    name = str(item["loc"][0])
    field = Settings.model_fields.get(name)
    unit = f" ({field.description})" if field is not None and field.description else ""
    return f"{name.upper()}={_shown(name, item['input'])}: {message[0].lower()}{message[1:]}{unit}"


def _shown(name: str, value: object) -> str:
    """Return a value as it may be shown: of a URL neither a password nor what may be one."""
    text = str(value)
    if name not in _URLS or re.fullmatch(r"\w+(\+\w+)?://[^@?#]*", text):
        return text
    try:
        parts = urlsplit(text)
        user, at, host = parts.netloc.rpartition("@")
    except ValueError:
        return "***"
    if not parts.netloc or "@" in parts.path + parts.query + parts.fragment:
        return "***"  # a password that should have been escaped
    netloc = f"{user.partition(':')[0]}:***@{host}" if at else host
    return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else ""))


def _check_tls(certificate: Path, key: Path, client_ca: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"TLS_CERT_FILE={certificate} and TLS_KEY_FILE={key} are no certificate with its key in PEM "
            f"form, without a password ({error})"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"TLS_CLIENT_CA_FILE={client_ca} is no certificate in PEM form ({error})"
            ) from error


def _no_password() -> str:
    raise ValueError("the key is protected by a password")
