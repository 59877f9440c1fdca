"""Whether frames are traced, as the standard variables say; where they are not, nothing of OpenTelemetry is imported.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/ list the variables. Headers and certificates are read by
the exporter.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from telemetry.settings import OtelError, OtelSettings

if TYPE_CHECKING:
    from telemetry.tracer import Tracer


def _address(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and (scheme not in ("http", "https") or not rest):
        raise ValueError("is no address; write it as in http://localhost:4317")
    return text


def _trace_context(text: str) -> str:
    if "tracecontext" not in [each.strip() for each in text.split(",")]:
        raise ValueError("must have tracecontext in it; no other propagator is known here")
    return text


_Word = BeforeValidator(lambda text: str(text).strip().lower())


class TraceSettings(BaseSettings):
    """What applies to traces; the name of the environment variable is the field's in capitals."""

    model_config = SettingsConfigDict(
        env_file=None, env_ignore_empty=True, extra="ignore", frozen=True
    )

    otel_traces_exporter: Annotated[Literal["otlp", "none"], _Word] = "otlp"
    otel_exporter_otlp_traces_endpoint: Annotated[str, AfterValidator(_address)] | None = None
    otel_exporter_otlp_traces_protocol: Annotated[Literal["grpc"], _Word] = "grpc"
    otel_exporter_otlp_traces_timeout: float | None = Field(
        None, gt=0, le=3600, description="seconds"
    )
    otel_exporter_otlp_compression: Annotated[Literal["gzip", "none"], _Word] = "none"
    otel_exporter_otlp_traces_compression: Annotated[Literal["gzip", "none"], _Word] | None = None
    otel_exporter_otlp_certificate: FilePath | None = None
    otel_exporter_otlp_traces_certificate: FilePath | None = None
    otel_propagators: Annotated[str, AfterValidator(_trace_context)] = "tracecontext"
    otel_traces_sampler: Annotated[
        Literal[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ],
        _Word,
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="of the traces")
    otel_bsp_max_queue_size: int = Field(2048, ge=1, le=1_000_000, description="spans")
    otel_bsp_max_export_batch_size: int = Field(512, ge=1, le=1_000_000, description="spans")
    otel_bsp_schedule_delay: int = Field(5000, ge=1, le=3_600_000, description="milliseconds")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        batch, queue = self.otel_bsp_max_export_batch_size, self.otel_bsp_max_queue_size
        if "otel_bsp_max_export_batch_size" in self.model_fields_set and batch > queue:
            raise ValueError(
                f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE={batch}: must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}"
            )
        return self

    def endpoint(self, otel: OtelSettings) -> str | None:
        """Return where spans go; None where nothing is traced."""
        if otel.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return None
        return self.otel_exporter_otlp_traces_endpoint or otel.otel_exporter_otlp_endpoint


def start(service: str, otel: OtelSettings) -> "Tracer | None":
    """Begin to trace, where the environment says so.

    Args:
        service: the name of this process, where OTEL_SERVICE_NAME gives no other.
        otel: what applies to all telemetry.

    Returns:
        What spans are made with; None where nothing is traced.

    Raises:
        OtelError: names every variable that is not acceptable, its value, and what is.
    """
    settings = load_trace_settings()
    endpoint = settings.endpoint(otel)
    if endpoint is None:
        return None
    # Where nothing is traced, neither time nor memory goes into these.
    from telemetry.resource import resource  # noqa: PLC0415
    from telemetry.span_queue import SpanQueue  # noqa: PLC0415
    from telemetry.tracer import Tracer  # noqa: PLC0415

    timeout = settings.otel_exporter_otlp_traces_timeout or otel.otel_exporter_otlp_timeout
    return Tracer(SpanQueue(endpoint, timeout, settings), resource(service), settings)


def load_trace_settings(**overrides: Any) -> TraceSettings:
    """Read the settings; `telemetry.settings` has put those of a ``.env`` file into the environment.

    Raises:
        OtelError: names every variable that is not acceptable, its value, and what is.
    """
    try:
        return TraceSettings(**overrides)
    except ValidationError as error:
        raise OtelError("\n".join(_complaint(dict(item)) for item in error.errors())) from error


def _complaint(item: dict[str, Any]) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(message)
    name = str(item["loc"][0])
    unit = TraceSettings.model_fields[name].description
    return f"{name.upper()}={item['input']}: {message[0].lower()}{message[1:]}" + (
        f" ({unit})" if unit else ""
    )
