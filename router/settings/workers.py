"""Which workers there are, and how they are asked how they are."""

from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from router.fleet.worker import worker_id
from router.prompt.endpoints import PATHS
from router.setting_types import ApiKey, ReadableFile, WorkerUrl, pairs, word
from router.upstream.pool import Address


class WorkerSettings(BaseModel):
    """Which workers there are, and how they are asked how they are."""

    workers: list[WorkerUrl] = Field(
        default=[],
        description="Base URLs of the workers: `http://host:8000`, a path prefix is allowed; without the `/v1` of clients.",
    )
    worker_api_key: ApiKey | None = Field(
        default=None,
        repr=False,
        description="Sent as a bearer token with the router's own probes of workers, and with clients' requests where "
        "those need keys of the router's (`tenants_file`, `api_keys`).",
    )
    worker_ca_file: ReadableFile | None = Field(
        default=None, description="CA bundle for workers on https; default: the system's."
    )
    worker_cert_file: ReadableFile | None = Field(
        default=None, description="Certificate chain to show to workers on https …"
    )
    worker_key_file: ReadableFile | None = Field(
        default=None, description="… and its key; without, it is in the same file."
    )
    worker_idle_s: float = Field(
        default=4.0,
        gt=0,
        description="Idle worker connections are closed after this; keep it below the worker's own.",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, description="Limit for connecting to a worker."
    )
    first_byte_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="How long a worker may take until the first byte of an answer; then another is asked, or the client "
        "gets 504.",
    )
    first_byte_timeouts: dict[str, float] = Field(
        default={},
        description="The same for endpoints that differ, by their names in metrics: `embeddings=30`.",
    )
    idle_timeout_s: float = Field(
        default=300.0, gt=0, description="How long an answer that has begun may pause."
    )
    total_timeout_s: float = Field(
        default=3600.0,
        gt=0,
        description="How long a request may take from its arrival to the last byte of its answer.",
    )
    eject_failures: int = Field(
        default=5,
        gt=0,
        description="How many more failed than good answers have a worker given no requests for a while.",
    )
    eject_s: float = Field(
        default=5.0,
        gt=0,
        description="How long that is at first; each time twice as long, up to a minute.",
    )
    retry_budget: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of a worker's requests that another one is asked for if it refuses them (429, 503).",
    )
    finish_abandoned_s: float = Field(
        default=0.0,
        ge=0,
        description="How long an answer whose client left may go on, so that its prompt stays in the cache; 0: it is ended "
        "at once.",
    )
    resume: Literal["off", "on"] = Field(
        default="off",
        description="`on`: a stream whose worker dies goes on from another one. Requests can say so themselves with the "
        "header `x-router-resume: on` or `off`.",
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

    @field_validator("resume", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return word(value)

    @field_validator("first_byte_timeouts", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        return pairs(value, "endpoint=seconds")

    @field_validator("first_byte_timeouts")
    @classmethod
    def _endpoints(cls, value: dict[str, float]) -> dict[str, float]:
        known = sorted({endpoint.name for endpoint in PATHS.values()})
        for name, seconds in value.items():
            if name not in known:
                raise ValueError(f"no endpoint is called {name!r}; there are {', '.join(known)}")
            if seconds <= 0:
                raise ValueError(f"{name}: must be more than 0")
        return value

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Self:
        if self.worker_key_file is not None and self.worker_cert_file is None:
            raise ValueError("worker_key_file needs a worker_cert_file")
        return self

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
