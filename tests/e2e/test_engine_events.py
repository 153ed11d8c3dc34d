"""What a real worker's events say is what it finds: predicted hits are `cached_tokens`, to the token."""

import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.engines import BLOCK, event_specs, until, watching

pytestmark = pytest.mark.engine

POOL_BLOCKS = 40
REQUESTS = 150


@pytest.fixture(scope="module")
def start(engine: ModuleType) -> Iterator[Callable[[], Any]]:
    """Start a worker with a small pool that publishes its events; each time on the same ports."""
    (spec,) = event_specs(engine, blocks=POOL_BLOCKS)
    started: list[Any] = []

    def start() -> Any:
        worker = engine.start(spec)
        started.append(worker)
        engine.wait_healthy([worker])
        return worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        try:
            yield start
        finally:
            engine.stop(started)


def prompts(seed: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Prompts that share beginnings, more than the pool holds; some end with a block, some are salted or reported."""
    chance = random.Random(seed)
    stems = [[chance.randrange(3, 4000) for _ in range(24 * BLOCK)] for _ in range(4)]
    while True:
        stem = chance.choice(stems)
        shared = chance.randrange(0, 20 * BLOCK)
        if chance.random() < 0.4:
            shared -= shared % BLOCK
        tail = [] if shared and chance.random() < 0.4 else [chance.randrange(3, 4000)]
        tail = tail * chance.choice((1, 7, BLOCK, 3 * BLOCK))
        fields: dict[str, Any] = {}
        if chance.random() < 0.2:
            fields["cache_salt"] = chance.choice(("one", "two"))
        if chance.random() < 0.15:
            fields["vllm_xargs"] = {"kv_cache_report_mode": "full"}
        if chance.random() < 0.2:
            fields["max_tokens"] = 2 * BLOCK
        yield [*stem[:shared], *tail], fields


@pytest.mark.timeout(400)
async def test_predicted_hits_are_what_the_worker_finds(
    start: Callable[[], Any], report: Callable[[str], None]
) -> None:
    worker = start()
    async with watching(worker) as (seen,):
        asked = prompts(seed=1)
        pairs = []
        for _ in range(REQUESTS):
            prompt, fields = next(asked)
            pairs.append(await seen.ask(prompt, **fields))
        right = sum(predicted == actual for predicted, actual in pairs)
        hits = sum(actual > 0 for _, actual in pairs)
        counters = seen.counters
        report(
            f"events: {right} of {len(pairs)} predictions exact, {hits} with hits; {counters.removed} blocks evicted"
        )
        assert counters.removed > POOL_BLOCKS
        assert hits > REQUESTS / 4
        assert right >= 0.99 * len(pairs), [pair for pair in pairs if pair[0] != pair[1]]

        prompt, _ = next(asked)
        await seen.ask(prompt)
        await seen.post("/reset_prefix_cache", {})
        await seen.ask([5] * 10)  # the reset is told with the next step
        assert seen.counters.cleared == 1
        assert await seen.ask(prompt) == (0, 0)

        async with watching(worker) as (late,):
            assert late.predict(prompt) == seen.predict(prompt) > 0

        worker.kill()
        start()
        before = seen.counters.resyncs
        await seen.follow()  # as is done when a worker comes up again
        await until(lambda: seen.counters.resyncs > before)
        assert await seen.ask(prompt) == (0, 0)
        predicted, actual = await seen.ask(prompt)
        assert predicted == actual > 0
