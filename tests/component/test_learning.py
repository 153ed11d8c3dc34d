"""What answers teach, and what they must not: the index is right again soon, and one odd answer harms nothing."""

import asyncio
from typing import Any

from router.telemetry.metrics import Metrics
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

TEXT = "A prefix that is worth something. " * 200


def body(text: str = TEXT, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def blocks(router: RunningRouter) -> int:
    return sum(
        sum(sample.index_blocks.values())
        for sample in _samples(router.app.metrics)
        if sample.worker is not None
    )


def _samples(metrics: Metrics) -> list[Any]:
    return list(metrics.workers.state())


async def test_asking_for_a_count_fills_no_cache(worker: FakeWorker, router: RunningRouter) -> None:
    """Agents count tokens before they ask; counting computes nothing."""
    for path in ("/v1/messages/count_tokens", "/tokenize"):
        assert (await router.post(body(), path)).status == 200
    assert blocks(router) == 0
    await router.post(body())
    assert blocks(router) > 0


async def test_a_restarted_worker_is_known_to_be_empty(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Its metrics say when its process began: nothing is expected of a new one's cache."""
    worker = await start_worker()
    began = [100.0]

    async def metrics(request: Request, wire: Wire) -> None:
        await wire.reply(200, body=b"process_start_time_seconds %f\n" % began[0])

    worker.routes["/metrics"] = metrics
    router = await start_router(worker, models_interval_s=0.1, health_interval_s=0.1)
    await router.post(body())
    await asyncio.sleep(0.3)
    assert blocks(router) > 0
    began[0] = 200.0
    await eventually(lambda: blocks(router) == 0)


async def test_anthropic_usage_counts_the_whole_prompt(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Its input_tokens leave out what was cached: the prompt's length is the sum."""

    async def answer(request: Request, wire: Wire) -> None:
        usage = {
            "input_tokens": 16,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 500,
            "output_tokens": 3,
        }
        await wire.json({"type": "message", "usage": usage})

    worker.script = answer
    await router.post(body(), "/v1/messages")
    line = router.lines()[-1]
    assert (line["prompt_tokens"], line["cached_tokens"]) == (1516, 1000)


async def test_a_prompt_that_was_refused_is_not_cached(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """vLLM refuses one that is too long at once: nothing of it is in the cache."""
    await router.post(body(TEXT[:2000]))
    known = blocks(router)
    assert known > 0
    echo = worker.script

    async def refuse(request: Request, wire: Wire) -> None:
        await wire.json({"error": {"message": "too long"}}, 400)

    for stream in (False, True):
        worker.script = refuse
        assert (await router.post(body(TEXT * 3, stream=stream))).status == 400
        assert blocks(router) == known
    worker.script = echo
    assert (await router.post(body(TEXT * 3))).status == 200
    assert blocks(router) > known
