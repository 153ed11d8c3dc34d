"""Adapters' blocks and those of data-parallel ranks are told apart, as a real worker tells them apart."""

import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from router.tokens.extras import Adapter
from tests.e2e.engines import (
    ADAPTERS,
    BLOCK,
    MODEL,
    completion,
    event_specs,
    lora_args,
    watching,
)
from tests.e2e.harness import ask

pytestmark = pytest.mark.engine

RANKS = 2
REQUESTS = 120


@pytest.fixture(scope="module")
def worker(engine: ModuleType) -> Iterator[Any]:
    """A worker of two ranks that serves adapters."""
    with engine.running(event_specs(engine, ranks=RANKS, extra=lora_args(engine))) as (worker,):
        yield worker


def prompt(seed: int, blocks: int = 6) -> list[int]:
    """Token ids that end within a block."""
    chance = random.Random(seed)
    return [chance.randrange(3, 4000) for _ in range(blocks * BLOCK + 7)]


def test_models_tell_which_are_adapters(worker: Any) -> None:
    cards = ask(worker.url, "/v1/models", method="GET").json()["data"]
    adapters = {card["id"]: Adapter.of(card) for card in cards}
    assert adapters == {MODEL: None, **{name: Adapter(name, MODEL) for name in ADAPTERS}}


async def test_each_rank_reports_what_it_holds_itself(worker: Any) -> None:
    async with watching(worker) as (seen,):
        assert [source.holder for source in seen.sources] == [seen.id, f"{seen.id}#1"]
        tokens = prompt(seed=1)
        assert await seen.ask(tokens, rank=1) == (0, 0)
        assert await seen.ask(tokens, rank=1) == (6 * BLOCK, 6 * BLOCK)
        assert await seen.ask(tokens, rank=0) == (0, 0)
        assert await seen.ask(tokens, rank=0) == (6 * BLOCK, 6 * BLOCK)


async def test_an_adapter_shares_no_blocks(worker: Any) -> None:
    async with watching(worker) as (seen,):
        tokens = prompt(seed=2)
        for adapter in (None, *ADAPTERS):
            assert await seen.ask(tokens, adapter=adapter, rank=0) == (0, 0)
        for adapter in (None, *ADAPTERS):
            assert await seen.ask(tokens, adapter=adapter, rank=0) == (6 * BLOCK, 6 * BLOCK)


async def test_predicted_hits_are_what_the_ranks_find(
    worker: Any, report: Callable[[str], None]
) -> None:
    chance = random.Random(3)
    stems = [prompt(seed, blocks=16) for seed in range(10, 13)]
    async with watching(worker) as (seen,):
        pairs = []
        for _ in range(REQUESTS):
            tokens = chance.choice(stems)[: chance.randrange(2, 14) * BLOCK + chance.choice((0, 9))]
            salt = {"cache_salt": "salt"} if chance.random() < 0.2 else {}
            adapter = chance.choice((None, *ADAPTERS))
            pairs.append(
                await seen.ask(tokens, adapter=adapter, rank=chance.randrange(RANKS), **salt)
            )
        wrong = [pair for pair in pairs if pair[0] != pair[1]]
        removed = seen.counters.removed
    hits = sum(found > 0 for _, found in pairs)
    report(
        f"adapters on {RANKS} ranks: {REQUESTS - len(wrong)} of {REQUESTS} predictions exact,"
        f" {hits} with hits; {removed} blocks evicted from the first rank"
    )
    assert removed
    assert hits > REQUESTS / 4
    assert not wrong


async def test_ranks_that_do_not_exist_are_refused(worker: Any) -> None:
    answer = ask(
        worker.url,
        "/v1/completions",
        completion(prompt(seed=4)),
        {"x-data-parallel-rank": str(RANKS)},
    )
    assert answer.status == 400
