"""The whole configuration, validated once. A new user sets only the workers."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, field_validator, model_validator

from router.access.keys import digest_of
from router.fleet.worker import worker_id
from router.settings.access import AccessSettings
from router.settings.caches import CacheSettings
from router.settings.choosing import ChoosingSettings
from router.settings.discovery import DiscoverySettings
from router.settings.fallback import FallbackSettings
from router.settings.observing import ObservingSettings
from router.settings.serving import ServingSettings
from router.settings.sharing import SharingSettings
from router.settings.workers import WorkerSettings
from router.upstream.pool import Address


class Settings(
    SharingSettings,
    CacheSettings,
    ChoosingSettings,
    AccessSettings,
    ObservingSettings,
    ServingSettings,
    FallbackSettings,
    DiscoverySettings,
    WorkerSettings,
):  # pydantic lists the last one's fields first
    """Every setting; the descriptions are the reference in README."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator(
        "workers",
        "allow_paths",
        "session_headers",
        "workers_dns",
        "dns_nameservers",
        "kubernetes_namespaces",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        """Lists may be written with commas, as an environment variable has to."""
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name in ("lmcache_coordinator", "lmcache_redis_url"):
            if getattr(self, name) and not all(map(find_spec, ("blake3", "redis"))):
                raise ValueError(f"{name} needs: pip install 'prefix-router[lmcache]'")
        if self.redis_url and not find_spec("redis"):
            raise ValueError("redis_url needs: pip install 'prefix-router[redis]'")
        if self.fallback_url and _id(self.fallback_url) in map(_id, self.workers):
            raise ValueError(
                "fallback_url is at the address of a worker: one of the two would not be there"
            )
        own = digest_of((self.admin_key or "").encode())
        if any(own in keys for keys in (self.api_keys or {}).values()):
            raise ValueError("admin_key is a client's key as well: have a key of its own")
        if self.sidecar and not self.redis_url:
            raise ValueError("sidecar needs a redis_url")
        return self

    @property
    def finds_workers(self) -> bool:
        """Somebody answers requests, or may be found that does."""
        return bool(
            self.workers
            or self.fallback_url
            or self.workers_file
            or self.workers_dns
            or self.kubernetes_service
            or self.kubernetes_selector
        )


def _id(url: str) -> str:
    return worker_id(Address.parse(url.rstrip("/").removesuffix("/v1")))


def hub_cache(settings: Settings) -> Path:
    """Where models from the Hugging Face Hub are kept on this machine."""
    if settings.hub_cache_dir is not None:
        return settings.hub_cache_dir
    home = os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
