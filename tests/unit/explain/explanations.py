"""Explanations as a router answers them."""

from typing import Any

import msgspec

from router.ids import Tier
from router.routing.explain import Excluded, Explanation, Prompt, Prospect

NEAR = Prospect(
    id="gpu-1:8000",
    up=True,
    chosen=True,
    reason="cached",
    blocks=60,
    covered_tokens=4900,
    cached_tokens=4912,
    loaded_tokens=0,
    tier=Tier.GPU,
    uncached_tokens=100,
    inflight=2,
    foreign=3,
    pending_prefill_tokens=1200,
    kv_cache_usage=0.37,
    room=True,
    lacks="",
    scale=1.25,
    predicted_ttft_ms=62.04,
    waiting_ms=40.0,
    prefill_ms=10.0,
    step_ms=12.04,
    cost_ms=133.0,
)
FAR = msgspec.structs.replace(
    NEAR,
    id="[fe80::1]:8000",
    up=False,
    chosen=False,
    reason="",
    blocks=0,
    covered_tokens=0,
    cached_tokens=0,
    uncached_tokens=5012,
    inflight=0,
    foreign=0,
    kv_cache_usage=None,
    room=False,
    lacks="max_inflight",
    predicted_ttft_ms=1234.56,
    cost_ms=1300.0,
)


def explanation(**changes: Any) -> dict[str, Any]:
    """An explanation in which the first of two workers wins; `changes` are its fields."""
    made = Explanation(
        policy="prefix",
        endpoint="chat_completions",
        model="org/m",
        prompt=Prompt(5012, 61, "text"),
        outcome="sent",
        worker="gpu-1:8000",
        equal=[],
        reason="cached",
        waits="",
        queue_depth=0,
        workers=[NEAR, FAR],
        excluded=[Excluded("gpu-3:8000", "down")],
    )
    document: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(made, **changes))
    return document
