"""Label values that are known beforehand. Their counters begin at 0: of one that begins at its first increase, Prometheus
never sees that increase.
"""

from collections.abc import Collection, Iterator, Mapping

OUTCOMES = ("ok", "client_error", "upstream_error", "router_error", "cancelled")
RETRIES = ("stale_connection", "worker_unreachable", "worker_lost", "refused", "resumed")
RESUMED = ("resumed", "completed", "impossible")
REJECTED = (
    "no_worker_available",
    "queue_full",
    "queue_timeout",
    "router_shutting_down",
    "too_many_connections",
    "router_out_of_memory",
    "router_out_of_sockets",
)
DEGRADED = (
    "no_worker_up",
    "all_ejected",
    "prompt_unknown",
    "fallback",
    "log_dropped",
    "spans_dropped",
)
LIMITS = ("requests", "tokens", "inflight")
SHARED_FAILURES = ("late", "failed", "full", "read_only")


def from_zero(counts: Mapping[str, int], known: Collection[str]) -> Iterator[tuple[str, int]]:
    """What was counted, and nothing for each `known` value that was not."""
    yield from counts.items()
    for value in known:
        if value not in counts:
            yield value, 0
