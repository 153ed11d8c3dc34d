"""Two real workers that share an LMCache and dial in: what their events and the router's own keys say of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from router.ids import Tier, WorkerId
from router.prompt.identity import TokenIdentity
from router.prompt.stored import Stored
from router.prompt.token_blocks import token_keys
from router.tiers.base import TierSource
from router.tiers.chunks import Chunker, Chunks
from router.tiers.directory import Directory
from router.tiers.l2 import RedisTier
from router.upstream.pool import Address, Pool
from tests.e2e.engines import (
    ADAPTERS,
    BLOCK,
    MODEL,
    Seen,
    completion,
    event_specs,
    lora_args,
    watching,
)
from tests.e2e.harness import ask, launcher
from tests.fakes.ports import free_ports
from tests.fakes.redis_server import redis_server

pytestmark = pytest.mark.engine

CHUNK = 64
CHUNKS = 5
TOKENS = CHUNKS * CHUNK
MEMORY_GB = 0.01
"""Room for some 600 chunks of the tiny model."""


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """The URL of LMCache's second tier."""
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def lmcache(engine: ModuleType, redis: str, report: Callable[[str], None]) -> Iterator[Any]:
    """An LMCache server and its coordinator."""
    if not (engine.engine_dir() / "venv/bin/lmcache").exists():
        report("NOT TESTED with LMCache: it has no build for the engine's Python")
        pytest.skip("no LMCache")
    module = launcher("lmcache_server")
    redis_port = urlsplit(redis).port
    spec = module.LMCacheSpec(*free_ports(3), redis_port, chunk=CHUNK, memory_gb=MEMORY_GB)
    with module.running(spec) as lmcache:
        yield lmcache


@pytest.fixture(scope="module")
def workers(engine: ModuleType, lmcache: Any) -> Iterator[list[Any]]:
    """Two workers that use it and publish to one port, where the tests listen."""
    extra = (*lmcache.spec.worker_args, *lora_args(engine))
    with engine.running(event_specs(engine, 2, dial=True, extra=extra)) as workers:
        yield workers


@pytest.fixture
async def tiers(lmcache: Any, redis: str) -> AsyncIterator[list[TierSource]]:
    """Who can be asked what LMCache holds."""
    pool = Pool(Address.parse(lmcache.coordinator.url), None, connect_s=5.0, idle_s=4.0)
    sources: list[TierSource] = [Directory(pool), RedisTier(redis)]
    yield sources
    for source in sources:
        await source.close()


def prompt(seed: int, chunks: int = CHUNKS) -> list[int]:
    """Token ids that end within a block."""
    chance = random.Random(seed)
    return [chance.randrange(3, 4000) for _ in range(chunks * CHUNK + 7)]


def chunks(worker: Any, tokens: list[int], salt: str = "") -> Chunks:
    """The prompt's chunks by the router's reckoning."""
    cards = ask(worker.url, "/v1/models", method="GET").json()["data"]
    root = next(card["root"] for card in cards if card["id"] == MODEL)
    return Chunker(CHUNK).chunks(tokens, root, salt)


def below(seen: Seen, tokens: list[int]) -> dict[WorkerId, int]:
    """How much of a prompt LMCache has, by each worker's account."""
    keys = token_keys(tokens, CHUNK)
    held = seen.watch.below.lookup(TokenIdentity.of(keys, len(tokens), CHUNK))
    return {worker: blocks * CHUNK for worker, blocks in held.items()}


async def step(seen: Seen) -> None:
    """Have it tell what it has to tell: that comes with a step of the engine."""
    await seen.post("/v1/completions", completion([5] * 10))
    await seen.watch.quiet()


async def told(seen: Seen, tokens: list[int]) -> None:
    """Wait until `seen` has told that LMCache has the prompt."""
    async with asyncio.timeout(10):
        while below(seen, tokens).get(seen.id) != TOKENS:
            await step(seen)


async def stored(sources: list[TierSource], found: Chunks) -> set[Stored]:
    """What all sources say."""
    return {each for source in sources for each in await source.stored(found)}


async def test_workers_that_dial_in_are_told_apart(workers: list[Any]) -> None:
    async with watching(*workers) as (one, other):
        assert one.sources[0].bind
        assert one.sources[0].endpoint == other.sources[0].endpoint
        assert one.sources[0].topic != other.sources[0].topic
        tokens = prompt(seed=1)[: 3 * BLOCK + 1]
        assert await one.ask(tokens) == (0, 0)
        assert await one.ask(tokens) == (3 * BLOCK, 3 * BLOCK)
        assert other.predict(tokens) == 0


async def test_events_tell_what_another_worker_can_load(workers: list[Any]) -> None:
    async with watching(*workers) as (one, other):
        tokens = prompt(seed=2)
        assert await one.ask(tokens) == (0, 0)
        await told(one, tokens)
        assert await other.ask(tokens) == (0, TOKENS)
        await told(other, tokens)
        assert below(one, tokens) == {one.id: TOKENS, other.id: TOKENS}
        assert await other.ask(tokens) == (TOKENS, TOKENS)


@pytest.mark.parametrize("salt", [None, "salt"])
async def test_chunks_are_found_by_their_keys(
    workers: list[Any], tiers: list[TierSource], salt: str | None
) -> None:
    tokens = prompt(seed=3 if salt else 4)
    fields = {"cache_salt": salt} if salt else {}
    there = {Stored(Tier.REMOTE, TOKENS), Stored(Tier.CPU, TOKENS, frozenset({"127.0.0.1"}))}
    async with watching(*workers) as (one, other):
        found = chunks(workers[0], tokens, salt or "")
        assert await stored(tiers, found) == set()
        assert await one.ask(tokens, **fields) == (0, 0)
        async with asyncio.timeout(10):
            while await stored(tiers, found) != there:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await other.ask(tokens, cache_salt="another") == (0, 0)
        assert await other.ask(tokens, **fields) == (0, TOKENS)


async def test_lmcache_does_not_tell_adapters_apart(workers: list[Any]) -> None:
    """Which is its fault (0.5.6): an adapter gets what the model, or another one, has computed."""
    async with watching(*workers) as (one, other):
        tokens = prompt(seed=5)
        assert await one.ask(tokens, adapter=ADAPTERS[0]) == (0, 0)
        await told(one, tokens)
        assert await other.ask(tokens) == (0, TOKENS)
        assert await other.ask(tokens, adapter=ADAPTERS[1]) == (0, TOKENS)


async def test_events_tell_what_lmcache_evicts(
    workers: list[Any], tiers: list[TierSource], report: Callable[[str], None]
) -> None:
    prompts = [prompt(seed, chunks=14) for seed in range(100, 150)]
    directory = tiers[0]

    async def in_memory(tokens: list[int]) -> int:
        found = await directory.stored(chunks(workers[0], tokens))
        return sum(each.tokens for each in found if each.tier is Tier.CPU)

    async with watching(*workers) as both:
        for tokens in prompts:
            await both[0].post("/v1/completions", completion(tokens))
        by_events: list[dict[WorkerId, int]] = []
        by_directory: list[int] = []
        async with asyncio.timeout(30):
            while not by_events or any(
                said.get(seen.id, 0) != held
                for said, held in zip(by_events, by_directory, strict=True)
                for seen in both
            ):
                for seen in both:
                    await step(seen)
                by_directory = [await in_memory(tokens) for tokens in prompts]
                by_events = [below(both[0], tokens) for tokens in prompts]
    gone = by_directory.count(0)
    report(
        f"LMCache: both workers' events agree with its directory, {gone} of {len(prompts)} prompts evicted"
    )
    assert gone
    assert gone < len(prompts)
