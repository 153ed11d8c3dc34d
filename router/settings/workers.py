"""Which workers there are, and how they are asked how they are."""

from pydantic import BaseModel, Field, field_validator

from router.fleet.worker import worker_id
from router.setting_types import ApiKey, ReadableFile, WorkerUrl
from router.upstream.pool import Address


class WorkerSettings(BaseModel):
    """Which workers there are, and how they are asked how they are."""

    workers: list[WorkerUrl] = Field(
        default=[],
        description="Base URLs of the workers: `http://host:8000`, a path prefix is allowed.",
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
