"""The whole configuration, validated once. A new user sets only the workers.

Sources, strongest first: command-line flags, environment (`PREFIX_ROUTER_…`), the YAML file, defaults.
"""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from router.config_file import ConfigurationError, read
from router.fleet.worker import worker_id
from router.prompt.session import SESSION_HEADERS
from router.routing.registry import POLICIES
from router.upstream.pool import Address

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _worker_url(url: str) -> str:
    Address.parse(url)
    if urlsplit(url if "://" in url else f"http://{url}").port == 0:
        raise ValueError(f"{url!r}: no worker listens on port 0")
    return url


def _api_key(key: str) -> str:
    """A key read from a file often ends with a newline."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("the key must be printable ASCII without spaces")
    return key


def _readable(file: Path) -> Path:
    if not (os.access(file, os.R_OK) and file.is_file()):
        raise ValueError(f"'{file}' is not a file that can be read")
    return file


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"no such policy; there are {', '.join(POLICIES)}")
    return name


def _header(name: str) -> str | None:
    if name and not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    return name.lower() or None


WorkerUrl = Annotated[str, AfterValidator(_worker_url)]
ApiKey = Annotated[str, AfterValidator(_api_key)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]
PolicyName = Annotated[str, AfterValidator(_policy)]
HeaderName = Annotated[str, AfterValidator(_header)]


class Settings(BaseModel):
    """Every setting; the descriptions are the reference in README."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: list[WorkerUrl] = Field(
        default=[],
        description="Base URLs of the workers: `http://host:8000`, a path prefix is allowed.",
    )
    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    policy: PolicyName = Field(default="prefix", description="How a worker is chosen.")
    room_tokens: int = Field(
        default=8192,
        gt=0,
        description="Uncached prompt tokens that a worker is sent at a time; the rest waits here (policy "
        "`prefix`). Best the workers' `max_num_batched_tokens`.",
    )
    max_inflight: int = Field(
        default=1024,
        gt=0,
        description="Requests that a worker is sent at a time (policy `prefix`). Best the workers' "
        "`max_num_seqs`.",
    )
    queue_limit: int = Field(
        default=10_000, ge=0, description="How many requests may wait; further ones get 503."
    )
    queue_timeout_s: float = Field(
        default=120.0, gt=0, description="How long a request may wait; then it gets 503."
    )
    tenant_header: HeaderName | None = Field(
        default="x-tenant-id",
        description="Header that names a request's tenant; without it, the API key does. Tenants that wait "
        "are served in turn.",
    )
    session_headers: tuple[str, ...] = Field(
        default=SESSION_HEADERS,
        description="Headers that name a session, in order (policy `session`); `-` and `_` are the same.",
    )
    allow_paths: list[str] = Field(
        default=[], description="Further worker paths to pass on, as patterns: `/v2/*`."
    )
    body_limit: int = Field(
        default=64 * 1024 * 1024,
        gt=0,
        description="Largest request body, bytes; a larger one gets 413.",
    )
    keep_alive_s: float = Field(
        default=75.0,
        gt=0,
        description="How long an idle client connection is kept, and an upload waited for that stalls.",
    )
    worker_api_key: ApiKey | None = Field(
        default=None,
        repr=False,
        description="Sent as a bearer token with the router's own probes of workers.",
    )
    worker_ca_file: ReadableFile | None = Field(
        default=None, description="CA bundle for workers on https; default: the system's."
    )
    worker_idle_s: float = Field(
        default=4.0,
        gt=0,
        description="Idle worker connections are closed after this; keep it below the worker's own.",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, description="Limit for connecting to a worker."
    )
    health_interval_s: float = Field(default=5.0, gt=0, description="Pause between health checks.")
    health_timeout_s: float = Field(
        default=5.0, gt=0, description="Limit for a worker's answer to a probe."
    )
    models_interval_s: float = Field(
        default=10.0,
        gt=0,
        description="How often workers are asked for their models (LoRA adapters come and go).",
    )
    metrics_interval_s: float = Field(
        default=1.0,
        gt=0,
        description="How often workers are asked for their metrics, which count other senders' requests too.",
    )
    default_kv_tokens: int = Field(
        default=400_000,
        gt=0,
        description="Assumed KV cache size of a worker whose metrics do not tell.",
    )
    index_max_blocks: int = Field(
        default=2_000_000, gt=0, description="Bound on the index over all workers."
    )
    tls_cert_file: ReadableFile | None = Field(
        default=None, description="Serve https with this certificate chain …"
    )
    tls_key_file: ReadableFile | None = Field(default=None, description="… and this key.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto`: text on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Threshold of the process's own log."
    )

    shutdown_timeout_s: float = Field(
        default=30.0, gt=0, description="After SIGTERM, running answers may take this long to end."
    )

    @field_validator("workers", "allow_paths", "session_headers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Lists may be written with commas, as an environment variable has to."""
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("workers")
    @classmethod
    def _each_once(cls, urls: list[str]) -> list[str]:
        """A worker's id is its address: two URLs of one id would be one worker counted twice."""
        seen: dict[str, str] = {}
        for url in urls:
            name = worker_id(Address.parse(url))
            if name in seen:
                raise ValueError(f"{seen[name]!r} and {url!r} are the same worker, {name}")
            seen[name] = url
        return urls

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        return self


_PREFIX = "PREFIX_ROUTER_"
_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_(HOST|PORT\w*)=|PORT_\d+_(TCP|UDP|SCTP)\w*=|PORT=(tcp|udp|sctp)://)"
)
"""Variables that Kubernetes sets in every pod beside a Service named `prefix-router…`."""

_FLAGS = {"workers": "worker", "allow_paths": "allow-path"}
"""Flags that are given once per item, where they differ from the setting."""


def load(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Merge all sources and validate; raises `ConfigurationError`."""
    from_file, lines = read(file) if file else ({}, {})
    environment, problems = _environment()
    try:
        settings = Settings(**{**from_file, **environment, **flags})
    except ValidationError as error:
        problems += [_problem(detail, file, lines, environment, flags) for detail in error.errors()]
        raise ConfigurationError(problems) from None
    if problems:
        raise ConfigurationError(problems)
    return settings


def _environment() -> tuple[dict[str, str], list[str]]:
    """The settings in the environment, and what is wrong with the names of others."""
    known = {f"{_PREFIX}{name.upper()}": name for name in Settings.model_fields}
    values, problems = {}, []
    for variable, value in os.environ.items():
        if not variable.startswith(_PREFIX) or _SERVICE_LINK.match(f"{variable}={value}"):
            continue
        if variable in known:
            values[known[variable]] = value
        else:
            problems.append(f"{variable}: {_unknown(variable, known)}")
    return values, problems


def _unknown(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"no such setting{f'; did you mean `{near[0]}`?' if near else ''}"


def _problem(
    detail: Mapping[str, Any],
    file: Path | None,
    lines: Mapping[str, int],
    environment: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> str:
    """One line: where, what, why."""
    location = [str(part) for part in detail["loc"]]
    name = location[0] if location else ""
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = _unknown(name, Settings.model_fields)
    if name in flags:
        where = f"--{_FLAGS.get(name, name).replace('_', '-')}"
    elif name in environment:
        where = f"{_PREFIX}{name.upper()}"
    else:
        line = lines.get(".".join(location)) or lines.get(name)
        where = f"{file}:{line}" if line else str(file or "configuration")
    return f"{where}: {'.'.join(location)}: {message}" if location else f"{where}: {message}"
