"""The standard variables of OpenTelemetry that this project relies on, checked at start.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

The others (headers, certificates, compression, ...) are the SDK's own to read; it knows the environment only, so what a
``.env`` file says of them is put there.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX: Final = "OTEL_"
_DISABLED: Final = "OTEL_SDK_DISABLED"


def _only_grpc(text: str) -> str:
    if text != "grpc":
        raise ValueError("only grpc is supported; set it to grpc, or unset it")
    return text


def _pairs(text: str) -> str:
    for item in text.split(","):
        key, equals, _ = item.partition("=")
        if item.strip() and not (key.strip() and equals):
            raise ValueError(
                f"{item.strip()!r} is no key=value; write it as in deployment.environment.name=hall,team=a"
            )
    return text


def _endpoint(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and (scheme not in ("http", "https") or not rest):
        raise ValueError("is no address; write it as in http://localhost:4317")
    return text


_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Protocol = Annotated[str, AfterValidator(_only_grpc)]
_Exporter = Annotated[
    Literal["otlp", "none"], BeforeValidator(lambda text: str(text).strip().lower())
]


class OtelError(ValueError):
    """A variable has a value that is not acceptable; the text names it, its value, and what is."""


class OtelSettings(BaseSettings):
    """What is relied on; the name of the environment variable is the field's in capitals."""

    model_config = SettingsConfigDict(
        env_file=None, env_ignore_empty=True, extra="ignore", frozen=True
    )

    otel_sdk_disabled: bool = False
    otel_service_name: str | None = None
    otel_resource_attributes: Annotated[str, AfterValidator(_pairs)] = ""
    otel_exporter_otlp_endpoint: _Endpoint | None = None
    otel_exporter_otlp_metrics_endpoint: _Endpoint | None = None
    otel_exporter_otlp_protocol: _Protocol = "grpc"
    otel_exporter_otlp_metrics_protocol: _Protocol = "grpc"
    otel_exporter_otlp_timeout: float = Field(default=10.0, gt=0, le=3600, description="seconds")
    otel_exporter_otlp_metrics_timeout: float | None = Field(
        default=None, gt=0, le=3600, description="seconds"
    )
    otel_metrics_exporter: _Exporter = "otlp"
    otel_metric_export_interval: float = Field(
        default=60_000, ge=100, le=86_400_000, description="milliseconds"
    )

    @property
    def metrics_endpoint(self) -> str | None:
        """Where metrics go; None where they do not leave by OTLP."""
        if self.otel_sdk_disabled or self.otel_metrics_exporter == "none":
            return None
        return self.otel_exporter_otlp_metrics_endpoint or self.otel_exporter_otlp_endpoint


def load_otel_settings(env_file: Path | None = Path(".env")) -> OtelSettings:
    """Read the settings, of the environment and of a file beside it.

    OTEL_SDK_DISABLED is taken out of the environment: of OTLP these settings know, and the SDK itself would empty
    the Prometheus page, too, which is no export.

    Args:
        env_file: its OTEL_ lines count where the environment does not have them; None for none.

    Raises:
        OtelError: names every variable that is not acceptable, its value, and what is.
    """
    if env_file is not None and env_file.is_file():
        for name, value in dotenv_values(env_file).items():
            if name.startswith(_PREFIX) and value:
                os.environ.setdefault(name, value)
    try:
        settings = OtelSettings()
    except ValidationError as error:
        raise OtelError("\n".join(_complaint(dict(item)) for item in error.errors())) from error
    os.environ.pop(_DISABLED, None)
    return settings


def _complaint(item: dict[str, Any]) -> str:
    name, message = str(item["loc"][0]), item["msg"].removeprefix("Value error, ")
    unit = OtelSettings.model_fields[name].description
    return f"{name.upper()}={item['input']}: {message[0].lower()}{message[1:]}" + (
        f" ({unit})" if unit else ""
    )
