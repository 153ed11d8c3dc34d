"""Asks LMCache's coordinator, whose directory knows what every LMCache server holds in memory and below.

It is asked for keys, not for tokens: that answers in 1 ms what else takes the coordinator 9 ms for 32k tokens.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from router.errors import RouterError, Source
from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.base import TierError
from router.tiers.chunks import Chunks, kv_ranks
from router.tiers.runs import leading_by_holder
from router.upstream.fetch import fetch
from router.upstream.pool import Pool

T = TypeVar("T")

_Holder: TypeAlias = tuple[Tier, str | None]
"""A tier, and the server that has it to itself, if one has."""

_FAN = 16
_TIMEOUT_S = 2.0
"""For the connection's own sake: who asks waits less."""
_INSTANCES_S = 10.0
_RETRY_S = 1.0
"""How long servers are believed to be where they were, and to be unknown."""

_NETWORK = frozenset(
    {"resp", "redis", "valkey", "s3", "mooncake_store", "aerospike", "bigtable", "hf3fs", "hfbucket"}
)  # fmt: skip
"""Second tiers that are one for all servers, whatever their `shared` says (it is off unless set by hand)."""


class _Placement(msgspec.Struct):
    instance_id: str
    tier: str
    backend: str = ""
    shared: bool = False


class _Result(msgspec.Struct):
    placements: list[_Placement] = []


class _Lookup(msgspec.Struct):
    results: list[_Result]


class _Instance(msgspec.Struct):
    instance_id: str
    ip: str


class _Instances(msgspec.Struct):
    instances: list[_Instance]


class Directory:
    """The coordinator behind `pool` (`tiers.base.TierSource`).

    Its servers must report their events to it (`--coordinator-event-reporting`). `world_size` counts the workers of
    one engine (tensor times pipeline parallel). Hosts are what the servers registered as (`--coordinator-advertise-ip`).
    """

    name = "LMCache's coordinator"

    def __init__(self, pool: Pool, *, world_size: int = 1) -> None:
        self._pool = pool
        self._ranks = kv_ranks(world_size)
        self._hosts: dict[str, str] = {}
        self._asked_at = -_INSTANCES_S
        self._asking = asyncio.Lock()

    async def stored(self, chunks: Chunks) -> list[Stored]:
        """Raises `RouterError`, `TierError` or TimeoutError when the coordinator does not answer as it should."""

        async def holders(places: list[int]) -> list[frozenset[_Holder]]:
            return await self._holders(chunks, places)

        self._pool.sweep()
        runs = await leading_by_holder(len(chunks.hashes), holders, fan=_FAN)
        hosts = await self._hosts_of({server for _, server in runs if server is not None})
        return list(_stored(runs, hosts, chunks.size))

    async def close(self) -> None:
        """Close all connections."""
        self._pool.retire()
        self._pool.close(
            RouterError(
                503, "router_shutting_down", "The router is shutting down.", source=Source.ROUTER
            )
        )

    async def _holders(self, chunks: Chunks, places: list[int]) -> list[frozenset[_Holder]]:
        """Who has all ranks' parts of the chunks at `places`."""
        keys = [
            {
                "chunk_hash_hex": chunks.hashes[place].hex(),
                "model_name": chunks.model,
                "kv_rank": rank,
                "cache_salt": chunks.salt,
            }
            for place in places
            for rank in self._ranks
        ]
        body = msgspec.json.encode({"keys": keys})
        results = (await self._ask("/directory/lookup", _Lookup, body)).results
        if len(results) != len(keys):
            raise TierError(f"{len(results)} answers to {len(keys)} keys")
        found = [frozenset(map(_holder, result.placements)) for result in results]
        world = len(self._ranks)
        return [
            frozenset.intersection(*found[start : start + world])
            for start in range(0, len(found), world)
        ]

    async def _hosts_of(self, servers: set[str]) -> Mapping[str, str]:
        """Where servers are. What is known is asked for anew from time to time, and sooner for unknown ones."""
        if not servers:
            return {}
        async with self._asking:
            age = time.monotonic() - self._asked_at
            if age >= (_INSTANCES_S if servers <= self._hosts.keys() else _RETRY_S):
                answer = await self._ask("/instances", _Instances)
                self._hosts = {each.instance_id: each.ip for each in answer.instances}
                self._asked_at = time.monotonic()
        return self._hosts

    async def _ask(self, path: str, kind: type[T], body: bytes | None = None) -> T:
        try:
            answer = await fetch(
                self._pool, path, api_key=None, timeout_s=_TIMEOUT_S, body=body, reuse=True
            )
        except RouterError as error:
            if not error.retryable:  # it may have closed the connection as the question went out
                raise
            answer = await fetch(self._pool, path, api_key=None, timeout_s=_TIMEOUT_S, body=body)
        if answer.status != 200:
            raise TierError(f"{path} answered {answer.status}: {answer.body[:200]!r}")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TierError(f"{path}: {error}") from error


def _holder(placement: _Placement) -> _Holder:
    """Unless it is known to be shared, a store is its server's own."""
    if placement.tier == "l1":
        return (Tier.DISK if placement.backend == "gds" else Tier.CPU), placement.instance_id
    if placement.backend in _NETWORK:
        return Tier.REMOTE, None
    return Tier.DISK, None if placement.shared else placement.instance_id


def _stored(
    runs: Mapping[_Holder, int], hosts: Mapping[str, str], chunk_tokens: int
) -> Iterable[Stored]:
    """One entry for each tier and length; servers that nobody knows are nowhere."""
    together: dict[tuple[Tier, int], set[str]] = defaultdict(set)
    for (tier, server), held in runs.items():
        if server is None:
            yield Stored(tier, held * chunk_tokens)
        elif server in hosts:
            together[tier, held].add(hosts[server])
    for (tier, held), reach in together.items():
        yield Stored(tier, held * chunk_tokens, frozenset(reach))
