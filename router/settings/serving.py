"""Where and how clients are served."""

import re
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from router.setting_types import ApiKey, ReadableFile

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?")


class ServingSettings(BaseModel):
    """Where and how clients are served."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    admin_key: ApiKey | None = Field(
        default=None,
        repr=False,
        description="Bearer token that the admin routes demand: `/workers`, `/explain`, `/docs` and whatever is not "
        "inference, `/v1/models`, `/health`, `/ping`, `/ready` or `/metrics`.",
    )
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of their own for the admin routes, which are then not on `port`; `/health`, `/ready` and "
        "`/metrics` are on both.",
    )
    admin_host: str = Field(default="127.0.0.1", description="Address of `admin_port`.")
    allow_paths: list[str] = Field(
        default=[], description="Further worker paths to pass on, as patterns: `/v2/*`."
    )
    cors_origins: list[str] = Field(
        default=[],
        description="Web pages that may send requests and read answers, as origins: `https://app.example.com`; `*`: "
        "all. Empty: the workers' own answers decide.",
    )
    max_connections: int = Field(
        default=20_000, gt=0, description="Client connections at a time; further ones get 503."
    )
    body_limit: int = Field(
        default=64 * 1024 * 1024,
        gt=0,
        description="Largest request body, bytes, decompressed; a larger one gets 413.",
    )
    body_memory_limit: int = Field(
        default=1024 * 1024 * 1024,
        gt=0,
        description="Bodies of all requests under way together, bytes; what is beyond gets 503.",
    )
    sse_keep_alive_s: float | None = Field(
        default=None,
        gt=0,
        description="Comments (`: ping`) in streams whose first token is late, one every so many seconds, once the worker "
        "has answered. Requests can ask for it with the header `x-router-keep-alive: SECONDS`.",
    )
    sse_keep_alive_early: bool = Field(
        default=False,
        description="Also before that, while a request waits: its errors are events of the stream then.",
    )
    keep_alive_s: float = Field(
        default=75.0,
        gt=0,
        description="How long an idle client connection is kept, and an upload waited for that stalls.",
    )
    receive_timeout_s: float = Field(
        default=300.0,
        gt=0,
        description="How long a request may take from its first byte to its last; then it gets 408.",
    )
    client_stall_timeout_s: float = Field(
        default=300.0,
        gt=0,
        description="A client that reads nothing of its answer for so long is cut off.",
    )
    tls_cert_file: ReadableFile | None = Field(
        default=None,
        description="Serve https with this certificate chain … Read anew when it changes.",
    )
    tls_key_file: ReadableFile | None = Field(default=None, description="… and this key.")
    tls_client_ca_file: ReadableFile | None = Field(
        default=None,
        description="Demand certificates of clients, of these authorities (mutual TLS).",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto`: text on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Threshold of the process's own log."
    )
    drain_grace_s: float = Field(
        default=5.0,
        ge=0,
        description="After SIGTERM, `/ready` answers 503 and new connections are still served for so long: until load "
        "balancers know. SIGINT: none.",
    )
    shutdown_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="After that, running answers may take so long to end. A second signal: none.",
    )

    @field_validator("host", "admin_host")
    @classmethod
    def _address(cls, value: str) -> str:
        name, colon, port = value.rpartition(":")
        if colon and ":" not in name and port.isdecimal():
            raise ValueError(f"{value!r}: the port is a setting of its own")
        return value

    @field_validator("allow_paths")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            if not pattern.startswith(("/", "*", "[", "?")):
                raise ValueError(f"{pattern!r} fits no path: it has to begin with a slash")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        """With commas, as an environment variable has to be; YAML takes a lone `*` for a string at best."""
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        origins = [origin.lower() for origin in origins if origin]
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: scheme://host, or with :port, or `*`")
        return origins

    @model_validator(mode="after")
    def _served(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if self.admin_port and self.admin_port == self.port:
            raise ValueError("admin_port must be another one than port")
        if self.body_memory_limit < self.body_limit:
            raise ValueError("body_memory_limit must not be below body_limit")
        return self
