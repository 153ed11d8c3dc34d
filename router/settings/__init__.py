"""The whole configuration, validated once. A new user sets only the workers."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, field_validator, model_validator

from router.settings.access import AccessSettings
from router.settings.caches import CacheSettings
from router.settings.choosing import ChoosingSettings
from router.settings.serving import ServingSettings
from router.settings.sharing import SharingSettings
from router.settings.workers import WorkerSettings


class Settings(
    SharingSettings,
    CacheSettings,
    ChoosingSettings,
    AccessSettings,
    ServingSettings,
    WorkerSettings,
):  # pydantic lists the last one's fields first
    """Every setting; the descriptions are the reference in README."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("workers", "allow_paths", "session_headers", mode="before")
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
        if self.sidecar and not self.redis_url:
            raise ValueError("sidecar needs a redis_url")
        return self


def hub_cache(settings: Settings) -> Path:
    """Where models from the Hugging Face Hub are kept on this machine."""
    if settings.hub_cache_dir is not None:
        return settings.hub_cache_dir
    home = os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
