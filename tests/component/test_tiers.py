"""The tiers below the workers, asked over real sockets: a scripted coordinator and a real Valkey, well and unwell."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.chunks import Chunker, kv_ranks, store_key
from router.tiers.directory import Directory
from router.tiers.l2 import RedisTier
from router.tiers.service import TierService
from router.upstream.pool import Address, Pool
from tests.fakes.coordinator import FakeCoordinator
from tests.fakes.redis_server import redis_server
from tests.fakes.wire import Request, Wire

MODEL = "/models/m"
IDS = array("I", range(16 * 60 + 3))
CHUNKER = Chunker(16)
CHUNKS = CHUNKER.chunks(IDS, MODEL)
CPU = Stored(Tier.CPU, 16 * 40, frozenset({"10.0.0.1"}))
REMOTE = Stored(Tier.REMOTE, 16 * 50)
PATIENCE_S = 2.0
"""More than anything takes here that is not meant to be late."""


@pytest.fixture
def store() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
async def coordinator(store: str) -> AsyncIterator[FakeCoordinator]:
    """Its server holds 40 chunks, the store 50 (of which the directory knows nothing)."""
    async with Redis.from_url(store) as client:
        for place in range(50):
            await client.set(store_key(CHUNKS, place, kv_ranks(1)[0]), b"kv")
    async with FakeCoordinator() as fake:
        fake.hosts["lm-1"] = "10.0.0.1"
        fake.hold(CHUNKS.hashes[:40], "lm-1", model=MODEL)
        yield fake
        assert fake.http.errors == []


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def service(
    coordinator: FakeCoordinator, store: str, deadline_s: float = PATIENCE_S
) -> AsyncIterator[tuple[TierService, Clock]]:
    clock = Clock()
    pool = Pool(Address.parse(coordinator.url), None, connect_s=1.0, idle_s=4.0)
    sources = Directory(pool), RedisTier(store)
    tiers = TierService(sources, CHUNKER, deadline_s=deadline_s, pause_s=5.0, clock=clock)
    try:
        yield tiers, clock
    finally:
        await tiers.close()


def by_tier(found: list[Stored]) -> list[Stored]:
    return sorted(found, key=lambda each: each.tier)


async def test_both_sources_tell_what_they_hold(coordinator: FakeCoordinator, store: str) -> None:
    async with service(coordinator, store) as (tiers, _):
        for _ in range(3):
            assert by_tier(await tiers.stored(IDS, MODEL)) == [CPU, REMOTE]
        assert await tiers.stored(IDS, "/models/other") == []
        assert await tiers.stored(IDS, MODEL, "salt") == []
        assert tiers.found == {Tier.CPU: 3, Tier.REMOTE: 3}
        assert (tiers.asked, tiers.late, tiers.failed) == (5, 0, 0)


async def test_a_coordinator_that_dies_is_missed_and_found_again(
    coordinator: FakeCoordinator, store: str
) -> None:
    async with service(coordinator, store) as (tiers, clock):
        assert len(await tiers.stored(IDS, MODEL)) == 2
        await coordinator.http.stop()
        for _ in range(5):
            assert await tiers.stored(IDS, MODEL) == [REMOTE]
        assert tiers.failed == 1, "then it is left alone"
        await coordinator.http.start()
        assert await tiers.stored(IDS, MODEL) == [REMOTE]
        clock.now += 5
        assert by_tier(await tiers.stored(IDS, MODEL)) == [CPU, REMOTE]


async def test_a_coordinator_that_hangs_is_not_waited_for(
    coordinator: FakeCoordinator, store: str
) -> None:
    async def stuck(request: Request, wire: Wire) -> None:
        await asyncio.Event().wait()

    lookup = coordinator.http.routes["/directory/lookup"]
    coordinator.http.routes["/directory/lookup"] = stuck
    async with service(coordinator, store, deadline_s=0.3) as (tiers, clock):
        for _ in range(6):
            assert await tiers.stored(IDS, MODEL) == [REMOTE]
        assert (tiers.late, tiers.failed) == (3, 0)
        coordinator.http.routes["/directory/lookup"] = lookup
        clock.now += 5
        assert by_tier(await tiers.stored(IDS, MODEL)) == [CPU, REMOTE]


async def test_a_store_that_hangs_answers_the_right_question_later(
    coordinator: FakeCoordinator, store: str
) -> None:
    async with service(coordinator, store, deadline_s=0.3) as (tiers, _), _client(store) as client:
        assert len(await tiers.stored(IDS, MODEL)) == 2
        await client.client_pause(600, all=True)
        assert await tiers.stored(IDS, MODEL) == [CPU]
        assert tiers.late == 1
        await client.client_unpause()
        assert by_tier(await tiers.stored(IDS[:40], MODEL)) == [
            Stored(Tier.CPU, 32, CPU.hosts),
            Stored(Tier.REMOTE, 32),
        ]


async def test_a_store_that_closed_its_connections_is_asked_again(
    coordinator: FakeCoordinator,
) -> None:
    with redis_server() as url:
        async with service(coordinator, url) as (tiers, _), _client(url) as client:
            assert await tiers.stored(IDS, MODEL) == [CPU]
            await client.client_kill_filter(_type="normal", skipme=True)
            assert await tiers.stored(IDS, MODEL) == [CPU]
            assert tiers.failed == 0, "a kept connection that was closed is no failure"


def _client(url: str) -> "Redis[Any]":
    return Redis.from_url(url)
