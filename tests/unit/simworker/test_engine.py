"""The engine steps in real time, hands out tokens, and lets go of what is aborted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.simworker.config import WorkerConfig
from router.simworker.engine import Engine, EngineBusyError
from router.simworker.sequence import Outbox, Sequence


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Engine]:
    engine = Engine(WorkerConfig(**{"time_scale": 0.01, **options}))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(engine.run())
        yield engine
        task.cancel()


async def collect(engine: Engine, sequence: Sequence) -> tuple[list[int], str]:
    engine.submit([sequence])
    tokens: list[int] = []
    while True:
        for delta in await sequence.outbox.get():
            tokens += delta.tokens
            if delta.finish_reason:
                return tokens, delta.finish_reason


def prompt(length: int, limit: int = 3, start: int = 0) -> Sequence:
    return Sequence(list(range(start, start + length)), limit, Outbox())


async def test_tokens_arrive_and_counters_follow() -> None:
    async with running() as engine:
        tokens, reason = await collect(engine, prompt(40))
        assert (len(tokens), reason) == (3, "length")
        await collect(engine, prompt(40))
        stats = engine.stats
        assert (stats.queries, stats.hits, stats.generated_tokens) == (80, 32, 6)
        assert stats.finished["length"] == 2
        assert (sum(stats.ttft.counts), sum(stats.itl.counts)) == (2, 4)
        assert engine.usage == 0


async def test_a_cached_prompt_is_faster() -> None:
    async with running(time_scale=1.0, prefill_tokens_per_s=4000.0) as engine:
        cold, warm = prompt(2000, 1), prompt(2000, 1)
        await collect(engine, cold)
        await collect(engine, warm)
        times = [one.first_token_at - one.arrived_at for one in (cold, warm) if one.first_token_at]
        assert times[0] >= 0.45
        assert times[1] < times[0] / 2


async def test_step_time_is_the_larger_of_base_and_prefill() -> None:
    engine = Engine(WorkerConfig(itl_s=0.01, prefill_tokens_per_s=1000, time_scale=2.0))
    engine.submit([prompt(5)])
    step = engine.scheduler.schedule()
    assert engine.duration(step) == pytest.approx(0.02)
    engine.scheduler.complete(step)
    engine.submit([prompt(500, start=1000)])
    assert engine.duration(engine.scheduler.schedule()) == pytest.approx(1.0)


async def test_abort_frees_the_blocks() -> None:
    async with running(time_scale=1.0) as engine:
        sequences = [prompt(100, 1000, start) for start in (0, 1000)]
        engine.submit(sequences)
        await sequences[0].outbox.get()
        assert engine.usage > 0
        engine.abort(sequences)
        assert engine.usage == 0
        assert not engine.scheduler.running


async def test_abort_all_ends_answers_with_a_reason() -> None:
    async with running(time_scale=1.0) as engine:
        answer = asyncio.ensure_future(collect(engine, prompt(10, 10_000)))
        await asyncio.sleep(0.05)
        engine.abort_all()
        assert (await answer)[1] == "abort"


async def test_paused_requests_wait_silently() -> None:
    async with running() as engine:
        engine.pause()
        answer = asyncio.ensure_future(collect(engine, prompt(10)))
        await asyncio.sleep(0.05)
        assert not answer.done()
        engine.resume()
        assert (await answer)[1] == "length"


async def test_a_full_queue_refuses() -> None:
    engine = Engine(WorkerConfig(max_num_queued_reqs=1))
    engine.submit([prompt(10)])
    with pytest.raises(EngineBusyError):
        engine.submit([prompt(10)])
    assert engine.stats.rejected_requests == 1
