"""Asks the Redis (or Valkey) that LMCache's servers share as their second tier whether it has a prompt's chunks."""

from typing import TYPE_CHECKING

from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.base import TierError
from router.tiers.chunks import Chunks, kv_ranks, store_key
from router.tiers.runs import leading

if TYPE_CHECKING:
    from redis.asyncio import Redis

_FAN = 32
_CONNECTIONS = 16
_TIMEOUT_S = 1.0


class RedisTier:
    """A store that all workers reach (`tiers.base.TierSource`); looking does not keep anything in it alive.

    `world_size` counts the workers of one engine (tensor times pipeline parallel). `key_prefix` is that of LMCache's
    `valkey` adapter; its `resp` adapter has none. Raises ValueError for a URL that is none, ImportError, saying what to
    install, without a driver. `timeout_s` is for connections: who asks waits less.
    """

    name = "LMCache's Redis"

    def __init__(
        self,
        url: str,
        *,
        world_size: int = 1,
        key_prefix: str = "",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._client = _client(url, timeout_s)
        self._ranks = kv_ranks(world_size)
        self._prefix = f"{key_prefix}@" if key_prefix else ""

    async def stored(self, chunks: Chunks) -> list[Stored]:
        """Raises `TierError` when the store cannot be asked."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - only who has a Redis needs it

        async def complete(ranges: list[range]) -> list[bool]:
            pipeline = self._client.pipeline(transaction=False)
            for part in ranges:
                _ = pipeline.exists(*self._keys(chunks, part))  # sent by `execute`
            counts = await pipeline.execute()
            return [
                count == len(part) * len(self._ranks)
                for count, part in zip(counts, ranges, strict=True)
            ]

        try:
            held = await leading(len(chunks.hashes), complete, fan=_FAN)
        except (RedisError, OSError) as error:
            raise TierError(str(error)) from error
        return [Stored(Tier.REMOTE, held * chunks.size)] if held else []

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _keys(self, chunks: Chunks, part: range) -> list[str]:
        prefix = self._prefix
        return [prefix + store_key(chunks, place, rank) for place in part for rank in self._ranks]


def _client(url: str, timeout_s: float) -> "Redis":
    try:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "A Redis of LMCache's needs the package redis: pip install 'prefix-router[lmcache]'"
        ) from error
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        protocol=2,  # one round trip less to connect, and all that EXISTS needs
    )
    return Redis.from_pool(pool)
