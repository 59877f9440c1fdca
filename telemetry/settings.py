"""The standard variables of OpenTelemetry that this project relies on, checked at start.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/ list them. Some (headers, certificates, ...) the SDK reads
itself; it knows the environment only, so what a ``.env`` file says of them is put there.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX: Final = "OTEL_"
#: A pair of which the SDK understands the value, and gRPC takes the key for one of its metadata.
_HEADER: Final = re.compile(r"\s*[\w.-]+\s*=[ !#-+\--:<-\[\]-~]*", re.ASCII)


def _word(text: object) -> str:
    return str(text).strip().lower()


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


def _headers(text: str) -> str:
    for number, item in enumerate(text.split(","), start=1):
        sent = unquote(item)
        if item.strip() and not (_HEADER.fullmatch(item) and sent.isascii() and sent.isprintable()):
            raise ValueError(  # which may hold a token
                f"what is number {number} between the commas is no key=value; write it as in "
                "authorization=Bearer%20TOKEN, in ASCII, and % with two digits for all that is no letter or digit"
            )
    return text


def _endpoint(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and (scheme not in ("http", "https") or not rest):
        raise ValueError("is no address; write it as in http://localhost:4317")
    return text


def _trace_context(text: str) -> str:
    if "tracecontext" not in [each.strip() for each in text.split(",")]:
        raise ValueError("must have tracecontext in it; no other propagator is known here")
    return text


_Endpoint = Annotated[str, AfterValidator(_endpoint)]
_Protocol = Annotated[str, BeforeValidator(_word), AfterValidator(_only_grpc)]
_Timeout = Annotated[float, Field(gt=0, le=3600, description="seconds")]
_Compression = Annotated[Literal["gzip", "none"], BeforeValidator(_word)]
_Headers = Annotated[str, AfterValidator(_headers)]
_Exporter = Annotated[Literal["otlp", "none"], BeforeValidator(_word)]
_Sampler = Annotated[
    Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ],
    BeforeValidator(_word),
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

    # How both signals leave, and each where it differs.
    otel_exporter_otlp_endpoint: _Endpoint | None = None
    otel_exporter_otlp_metrics_endpoint: _Endpoint | None = None
    otel_exporter_otlp_traces_endpoint: _Endpoint | None = None
    otel_exporter_otlp_protocol: _Protocol = "grpc"
    otel_exporter_otlp_metrics_protocol: _Protocol = "grpc"
    otel_exporter_otlp_traces_protocol: _Protocol = "grpc"
    otel_exporter_otlp_timeout: _Timeout = 10.0
    otel_exporter_otlp_metrics_timeout: _Timeout | None = None
    otel_exporter_otlp_traces_timeout: _Timeout | None = None
    otel_exporter_otlp_compression: _Compression = "none"
    otel_exporter_otlp_metrics_compression: _Compression | None = None
    otel_exporter_otlp_traces_compression: _Compression | None = None
    otel_exporter_otlp_headers: _Headers = ""
    otel_exporter_otlp_metrics_headers: _Headers = ""
    otel_exporter_otlp_traces_headers: _Headers = ""
    otel_exporter_otlp_certificate: FilePath | None = None
    otel_exporter_otlp_metrics_certificate: FilePath | None = None
    otel_exporter_otlp_traces_certificate: FilePath | None = None

    otel_metrics_exporter: _Exporter = "otlp"
    otel_metric_export_interval: float = Field(
        default=60_000, ge=100, le=86_400_000, description="milliseconds"
    )

    otel_traces_exporter: _Exporter = "otlp"
    otel_propagators: Annotated[str, AfterValidator(_trace_context)] = "tracecontext"
    otel_traces_sampler: _Sampler = "parentbased_always_on"
    otel_traces_sampler_arg: float = Field(default=1.0, ge=0, le=1, description="of the traces")
    otel_bsp_max_queue_size: int = Field(default=2048, ge=1, le=1_000_000, description="spans")
    otel_bsp_max_export_batch_size: int = Field(
        default=512, ge=1, le=1_000_000, description="spans"
    )
    otel_bsp_schedule_delay: int = Field(
        default=5000, ge=1, le=3_600_000, description="milliseconds"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        batch, queue = self.otel_bsp_max_export_batch_size, self.otel_bsp_max_queue_size
        if "otel_bsp_max_export_batch_size" in self.model_fields_set and batch > queue:
            raise ValueError(
                f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE={batch}: must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}"
            )
        return self

    @property
    def metrics_endpoint(self) -> str | None:
        """Where metrics go; None where they do not leave by OTLP."""
        if self.otel_sdk_disabled or self.otel_metrics_exporter == "none":
            return None
        return self.otel_exporter_otlp_metrics_endpoint or self.otel_exporter_otlp_endpoint

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans go; None where nothing is traced."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return None
        return self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint


def load_otel_settings(env_file: Path | None = Path(".env")) -> OtelSettings:
    """Read the settings, of the environment and of a file beside it.

    Args:
        env_file: its OTEL_ lines count where the environment does not have them; None for none.

    Raises:
        OtelError: names every variable that is not acceptable, its value, and what is.
    """
    for name in [name for name in os.environ if name.startswith(_PREFIX)]:
        if not os.environ[name]:
            del os.environ[name]  # as the specification has it; the SDK would stumble over some
    if env_file is not None and env_file.is_file():
        for name, value in dotenv_values(env_file).items():
            if name.startswith(_PREFIX) and value:
                os.environ.setdefault(name, value)
    try:
        return OtelSettings()
    except ValidationError as error:
        raise OtelError("\n".join(_complaint(dict(item)) for item in error.errors())) from error


def _complaint(item: dict[str, Any]) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(message)
    name = str(item["loc"][0])
    shown = "***" if name.endswith("_headers") else item["input"]
    unit = OtelSettings.model_fields[name].description
    return f"{name.upper()}={shown}: {message[0].lower()}{message[1:]}" + (
        f" ({unit})" if unit else ""
    )
