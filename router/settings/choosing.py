"""How a worker is chosen, and who waits how."""

from pydantic import BaseModel, Field

from router.prompt.session import SESSION_HEADERS
from router.setting_types import HeaderName, PolicyName


class ChoosingSettings(BaseModel):
    """How a worker is chosen, and who waits how."""

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
        description="Header that names a request's tenant; without it, the API key does. Where clients need keys "
        "of the router's, only a `trusted` tenant's counts. Tenants that wait are served in turn.",
    )
    session_headers: tuple[str, ...] = Field(
        default=SESSION_HEADERS,
        description="Headers that name a session, in order (policy `session`); `-` and `_` are the same.",
    )
