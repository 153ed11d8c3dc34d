"""What is known of the workers' caches."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from router.setting_types import CoordinatorUrl, ReadableDirectory, ReadableFile, pairs, word


class CacheSettings(BaseModel):
    """What is known of the workers' caches."""

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

    @field_validator("kv_events", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return word(value)

    @field_validator("tokenizers", "chat_templates", mode="before")
    @classmethod
    def _by_model(cls, value: object) -> object:
        return pairs(value, "model=/path")

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        """An environment variable holds JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"must be JSON: {error}") from None
