"""Makes the driver's clients: of one server, of a cluster, of whatever master sentinels name."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from router.shared.urls import Target

CONNECTIONS = 16
"""Batches at a time."""

_MOST_CONNECTIONS = 4 * CONNECTIONS
"""Never reached by so many batches: a cluster's topology is asked for beside them, too."""


class Client(NamedTuple):
    """Runs pipelines (`commands`). `refresh` finds out which server has which role by now; `close` leaves none open."""

    commands: Redis | RedisCluster
    refresh: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


def client(target: Target, timeout_s: float) -> Client:
    """Connects when it is used. `timeout_s` is for connecting and for each answer."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,  # one round trip less to connect, and all that is needed
        "retry": Retry(NoBackoff(), 0),
    }
    match target.kind:
        case "cluster":
            return _of_cluster(target, options)
        case "sentinel":
            return _of_sentinels(target, options)
        case _:
            pool = ConnectionPool.from_url(target.url, max_connections=_MOST_CONNECTIONS, **options)
            one = Redis.from_pool(pool)
            return Client(one, _nothing, one.aclose)


def _of_cluster(target: Target, options: dict[str, Any]) -> Client:
    cluster = RedisCluster.from_url(target.url, max_connections=_MOST_CONNECTIONS, **options)
    return Client(cluster, cluster.nodes_manager.initialize, cluster.aclose)


def _of_sentinels(target: Target, options: dict[str, Any]) -> Client:
    """The URL's credentials and database are the master's; TLS is for both."""
    own = {**parse_url(target.url), **options, "max_connections": _MOST_CONNECTIONS}
    del own["host"]
    tls = {name: value for name, value in own.items() if name.startswith("ssl")}
    if own.pop("connection_class", None) is not None:
        tls["ssl"] = True
    sentinel = Sentinel(target.sentinels, sentinel_kwargs={**options, **tls})  # type: ignore[no-untyped-call]
    master = cast("Redis", sentinel.master_for(target.master, **{**own, **tls}))

    async def close() -> None:
        for each in (master, *sentinel.sentinels):
            await each.aclose()

    return Client(master, _nothing, close)


async def _nothing() -> None:
    pass
