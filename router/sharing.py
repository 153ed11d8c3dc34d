"""Builds what this router shares with others, if there is a Redis to do so."""

import os
import secrets
import socket

from router.fleet.fleet import Fleet
from router.settings import Settings
from router.shared.base import Replica
from router.shared.bond import Bond
from router.shared.names import Names
from router.shared.service import Ends, Shared
from router.telemetry.metrics import Metrics


def sharing(settings: Settings, fleet: Fleet, metrics: Metrics) -> Shared | None:
    """None where there is no Redis."""
    if settings.redis_url is None:
        return None
    from router.shared.link import Link  # noqa: PLC0415 - only who has a Redis needs its driver
    from router.shared.redis_quotas import RedisQuotas  # noqa: PLC0415
    from router.shared.redis_registry import RedisRegistry  # noqa: PLC0415
    from router.shared.redis_store import RedisStore  # noqa: PLC0415

    def degraded(reason: str) -> None:
        metrics.degraded[reason] += 1

    link, names = Link(settings.redis_url), Names(settings.redis_namespace)
    ends = Ends(
        RedisStore(link, names, ttl_s=settings.redis_ttl_s),
        RedisRegistry(link, names),
        Bond(degraded),
        link.close,
        RedisQuotas(link, names),
    )
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    return Shared(
        ends,
        fleet,
        Replica(name, leads=not settings.sidecar),
        metrics.shared_lookup,
        deadline_s=settings.redis_deadline_s,
        kv_tokens=lambda worker: worker.report.kv_tokens or settings.default_kv_tokens,
    )
