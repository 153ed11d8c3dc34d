"""Asking a real Valkey what it holds of a prompt."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.base import TierError
from router.tiers.chunks import Chunker, Chunks, kv_ranks, store_key
from router.tiers.l2 import RedisTier
from tests.fakes.redis_server import redis_server

SIZE = 4
PATIENCE_S = 60.0
"""On a machine that has other things to do, too."""
LONG = Chunker(SIZE).chunks(range(4 * 100), "/models/m")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator["Redis[Any]"]:
    async with Redis.from_url(url) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def tier(url: str, **options: Any) -> AsyncIterator[RedisTier]:
    asked = RedisTier(url, timeout_s=PATIENCE_S, **options)
    try:
        yield asked
    finally:
        await asked.close()


def keys(chunks: Chunks, places: Iterable[int], ranks: Iterable[int] = kv_ranks(1)) -> list[str]:
    return [store_key(chunks, place, rank) for place in places for rank in ranks]


async def store(client: Any, names: Iterable[str]) -> None:
    for name in names:
        await client.set(name, b"kv")


@pytest.mark.parametrize(
    ("places", "held"),
    [
        ((), 0),
        (range(1, 100), 0),
        (range(1), 1),
        (range(41), 41),
        (range(100), 100),
        ([place for place in range(100) if place != 77], 77),
        ([place for place in range(100) if place not in (3, 50)], 3),
    ],
)
async def test_only_chunks_without_a_gap_count(
    url: str, client: Any, places: Iterable[int], held: int
) -> None:
    await store(client, keys(LONG, places))
    async with tier(url) as asked:
        found = await asked.stored(LONG)
    assert found == ([Stored(Tier.REMOTE, held * SIZE)] if held else [])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 40)).map(lambda missing: set(range(40)) - missing))
async def test_the_answer_is_that_of_asking_for_one_after_the_other(
    url: str, places: set[int]
) -> None:
    held = next(place for place in range(41) if place not in places)
    async with Redis.from_url(url) as client, tier(url) as asked:
        await client.flushall()
        await store(client, keys(LONG, places))
        assert sum(each.tokens for each in await asked.stored(LONG)) == held * SIZE


async def test_a_chunk_is_there_when_every_workers_part_is(url: str, client: Any) -> None:
    await store(client, keys(LONG, range(10), kv_ranks(2)))
    await store(client, keys(LONG, range(10, 20), kv_ranks(2)[:1]))
    async with tier(url, world_size=2) as asked:
        assert await asked.stored(LONG) == [Stored(Tier.REMOTE, 10 * SIZE)]
    async with tier(url) as other:
        assert await other.stored(LONG) == [], "the chunks of engines with one worker are others"


async def test_other_salts_and_models_are_others(url: str, client: Any) -> None:
    ids = range(8)
    cut = Chunker(SIZE).chunks
    await store(client, keys(cut(ids, "/models/m", "mine"), range(2)))
    async with tier(url) as asked:
        assert await asked.stored(cut(ids, "/models/m", "mine")) == [Stored(Tier.REMOTE, 8)]
        assert await asked.stored(cut(ids, "/models/m", "yours")) == []
        assert await asked.stored(cut(ids, "/models/m")) == []
        assert await asked.stored(cut(ids, "/models/n", "mine")) == []


async def test_a_deployments_key_prefix_is_put_before_the_keys(url: str, client: Any) -> None:
    await store(client, [f"prod@{key}" for key in keys(LONG, range(5))])
    async with tier(url, key_prefix="prod") as asked:
        assert await asked.stored(LONG) == [Stored(Tier.REMOTE, 5 * SIZE)]


async def test_looking_keeps_nothing_alive(url: str, client: Any) -> None:
    name = keys(LONG, [0])[0]
    await store(client, [name])
    async with tier(url) as asked:
        await asked.stored(LONG)
        await client.config_set("maxmemory-policy", "allkeys-lfu")
        try:
            await store(client, [name])
            before = await client.object("freq", name)
            for _ in range(50):
                await asked.stored(LONG)
            assert await client.object("freq", name) <= before
        finally:
            await client.config_set("maxmemory-policy", "noeviction")


async def test_giving_up_does_not_mix_up_the_answers(url: str, client: Any) -> None:
    await store(client, keys(LONG, range(30)))
    async with tier(url) as asked:
        assert await asked.stored(LONG) != []
        await client.client_pause(300, all=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await asked.stored(LONG)
        short = Chunker(SIZE).chunks(range(8), "/models/m")
        assert await asked.stored(short) == [Stored(Tier.REMOTE, 8)]
        assert await asked.stored(LONG) == [Stored(Tier.REMOTE, 30 * SIZE)]


async def test_many_may_ask_at_once(url: str, client: Any) -> None:
    await store(client, keys(LONG, range(30)))
    async with tier(url) as asked:
        answers = await asyncio.gather(*(asked.stored(LONG) for _ in range(100)))
        assert answers == [[Stored(Tier.REMOTE, 30 * SIZE)]] * 100
        assert len(await client.client_list()) < 30


async def test_a_store_that_cannot_be_asked_is_an_error() -> None:
    with redis_server() as url:
        asked = RedisTier(url)
        assert await asked.stored(LONG) == []
    with pytest.raises(TierError, match=r"refused|closed|connect"):
        await asked.stored(LONG)
    await asked.close()


async def test_a_store_that_wants_a_password_is_an_error() -> None:
    with redis_server() as url:
        async with Redis.from_url(url) as client:
            await client.config_set("requirepass", "secret")
        async with tier(url) as asked:
            with pytest.raises(TierError, match=r"[Aa]uthentication"):
                await asked.stored(LONG)
        async with tier(url.replace("redis://", "redis://:secret@")) as asked:
            assert await asked.stored(LONG) == []


def test_a_url_must_be_one() -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisTier("http://store:6379")


def test_without_a_driver_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("redis"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'prefix-router\[lmcache\]'"):
        RedisTier("redis://store")
