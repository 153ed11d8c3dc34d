"""The whole configuration, validated once. A new user sets only the workers."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from router.fleet.worker import worker_id
from router.prompt.session import SESSION_HEADERS
from router.setting_types import (
    ApiKey,
    CoordinatorUrl,
    HeaderName,
    Namespace,
    PolicyName,
    ReadableDirectory,
    ReadableFile,
    RedisUrl,
    WorkerUrl,
)
from router.upstream.pool import Address


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
    kv_events: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: follow the KV events of workers that publish them (`--kv-events-config`).",
    )
    kv_events_endpoint: str | None = Field(
        default=None,
        description="Where workers publish that do not say so: `tcp://*:5557`, as in their "
        "`--kv-events-config`; `{host}` and `{port}` are the worker's. Rank n is on the port higher by n.",
    )
    kv_events_replay_endpoint: str | None = Field(
        default=None, description="Their `replay_endpoint`, likewise."
    )
    kv_events_topic: str | None = Field(
        default=None, description="Their `topic`; needed where workers dial in."
    )
    kv_events_ranks: int = Field(
        default=1, gt=0, description="Their data-parallel ranks that publish."
    )
    tokenizers: dict[str, ReadableDirectory] = Field(
        default={},
        description="Directories with a model's tokenizer files, by model: `name=/path`. Without, they are looked "
        "for where the worker loaded the model from, and in the Hugging Face cache; else workers are asked.",
    )
    chat_templates: dict[str, ReadableFile] = Field(
        default={}, description="The workers' `--chat-template`, by model: `name=/path`."
    )
    chat_template_kwargs: dict[str, dict[str, Any]] = Field(
        default={}, description="The workers' `--default-chat-template-kwargs`, by model."
    )
    hub_cache_dir: Path | None = Field(
        default=None,
        description="Hugging Face cache to look in; default `$HF_HUB_CACHE`, `$HF_HOME/hub`, "
        "`~/.cache/huggingface/hub`.",
    )
    token_deadline_s: float = Field(
        default=0.1,
        gt=0,
        description="How long a prompt's tokens may take to find out; then its text has to do.",
    )
    lmcache_coordinator: CoordinatorUrl | None = Field(
        default=None,
        description="LMCache coordinator to ask what is held in CPU memory, on disk and remotely: `http://host:9300`.",
    )
    lmcache_redis_url: str | None = Field(
        default=None,
        repr=False,
        description="Redis or Valkey that LMCache keeps chunks in, to be asked directly.",
    )
    lmcache_chunk_tokens: int = Field(default=256, gt=0, description="LMCache's `--chunk-size`.")
    lmcache_world_size: int = Field(
        default=1, gt=0, description="GPUs of one worker (tensor times pipeline parallel)."
    )
    lmcache_deadline_s: float = Field(
        default=0.02, gt=0, description="How long either may take to answer."
    )
    redis_url: RedisUrl | None = Field(
        default=None,
        repr=False,
        description="Redis or Valkey that several routers share what they know in: `redis://`, `rediss://`, `unix://`, "
        "`redis+cluster://` or `redis+sentinel://host:26379/master`.",
    )
    redis_namespace: Namespace = Field(
        default="prefix-router",
        description="What its keys begin with: routers of one fleet have the same.",
    )
    redis_deadline_s: float = Field(
        default=0.005,
        gt=0,
        description="How long a request waits for it; then it goes by what this router knows alone.",
    )
    redis_ttl_s: int = Field(
        default=1800, gt=0, description="How long a block is remembered there that nobody asks for."
    )
    sidecar: bool = Field(
        default=False,
        description="Follow what the routers that share the Redis say of workers, instead of probing every worker.",
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

    @field_validator("kv_events", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        """YAML takes `off` for a truth value."""
        return "off" if value is False else value

    @field_validator("tokenizers", "chat_templates", mode="before")
    @classmethod
    def _by_model(cls, value: object) -> object:
        """`name=path,name=path`, as an environment variable has to be."""
        if not isinstance(value, str):
            return value
        parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
        pairs = {name.strip(): path.strip() for name, _, path in parts}
        if not all(name and path for name, path in pairs.items()):
            raise ValueError("must be `model=/path`, several with commas")
        return pairs

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        """An environment variable holds JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"must be JSON: {error}") from None

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
        for name in ("lmcache_coordinator", "lmcache_redis_url"):
            if getattr(self, name) and not all(map(find_spec, ("blake3", "redis"))):
                raise ValueError(f"{name} needs: pip install 'prefix-router[lmcache]'")
        if self.redis_url and not find_spec("redis"):
            raise ValueError("redis_url needs: pip install 'prefix-router[redis]'")
        if self.sidecar and not self.redis_url:
            raise ValueError("sidecar needs a redis_url")
        return self


def hub_cache(settings: Settings) -> Path:
    """Where models from the Hugging Face Hub are kept on this machine."""
    if settings.hub_cache_dir is not None:
        return settings.hub_cache_dir
    home = os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
