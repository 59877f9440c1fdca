"""Who the telemetry comes from."""

import uuid
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.semconv.attributes.service_attributes import SERVICE_NAME, SERVICE_VERSION

_INSTANCE_ID = "service.instance.id"


@cache
def resource(service: str) -> Resource:
    """Return what describes this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.

    Args:
        service: its name, where the environment gives none.
    """
    own = {
        SERVICE_NAME: service,
        SERVICE_VERSION: release(),
        _INSTANCE_ID: str(uuid.uuid4()),
    }
    said = OTELResourceDetector().detect().attributes
    return Resource.create().merge(Resource({**own, **said}))


def release() -> str:
    """Return the version of this project that is installed."""
    try:
        return version("crowd-detector")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
