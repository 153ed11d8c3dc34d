"""What the router tells others of its requests."""

import os
from importlib.util import find_spec
from typing import NamedTuple, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from router.setting_types import CollectorUrl

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_COLLECTOR: TypeAdapter[str] = TypeAdapter(CollectorUrl)


class Standard(NamedTuple):
    """Where OpenTelemetry's own variables have traces sent; None: nowhere, and `problem` says why they cannot be heeded."""

    endpoint: str | None
    problem: str = ""


def standard() -> Standard:
    """Read them. Clusters set them for every pod, with others in mind: they keep no router from starting, and say nothing
    to one without the extra.
    """
    name, endpoint = _variable("ENDPOINT")
    off = _environ("OTEL_SDK_DISABLED") == "true" or _environ("OTEL_TRACES_EXPORTER") == "none"
    if off or not endpoint or not _installed(_EXPORTER):
        return Standard(None)
    protocol, spoken = _variable("PROTOCOL")
    if spoken.lower() == "grpc":
        return Standard(
            None, f"{name} is not used: {protocol} is {spoken}, the router speaks http/protobuf"
        )
    try:
        return Standard(_COLLECTOR.validate_python(endpoint))
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        return Standard(None, f"{name} is not used: {problem}")


class ObservingSettings(BaseModel):
    """What the router tells others of its requests."""

    otlp_endpoint: CollectorUrl | None = Field(
        default_factory=lambda: standard().endpoint,
        description="OpenTelemetry collector that traces are sent to, by OTLP over HTTP: `http://collector:4318`. Default: "
        "`OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set.",
    )
    trace_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the traces that begin here of which spans are sent; of a client's own the client has decided.",
    )

    @model_validator(mode="after")
    def _exporter(self) -> Self:
        if self.otlp_endpoint and not _installed(_EXPORTER):
            raise ValueError("otlp_endpoint needs: pip install 'prefix-router[tracing]'")
        return self


def _variable(what: str) -> tuple[str, str]:
    """Name and value of the exporter's variable: that for traces, if it is set, or that for all signals."""
    for name in (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        if value := os.environ.get(name, "").strip():
            return name, value
    return "", ""


def _environ(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False
