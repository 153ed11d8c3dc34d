"""What several routers share."""

from pydantic import BaseModel, Field

from router.setting_types import Namespace, RedisUrl


class SharingSettings(BaseModel):
    """What several routers share."""

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
