"""Load goes to all workers: none is starved, none is buried, and what belongs together stays together."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, echo


async def _slow(request: Request, wire: Wire) -> None:
    await asyncio.sleep(0.15)
    await wire.json({})


async def _served(router: RunningRouter, bodies: list[dict[str, Any]]) -> Counter[str | None]:
    """Who answered, when all are asked at once."""
    answers = await asyncio.gather(*(router.post(body) for body in bodies))
    assert {answer.status for answer in answers} == {200}
    return Counter(answer.header("x-router-worker") for answer in answers)


@pytest.mark.parametrize("policy", ["prefix", "least_load", "round_robin"])
async def test_burst(policy: str, start_worker: StartWorker, start_router: StartRouter) -> None:
    """Load that is only scraped lags behind, and a burst lands on one worker; what was just sent counts at once."""
    workers = [await start_worker(script=_slow) for _ in range(4)]
    router = await start_router(*workers, policy=policy)
    shares = await _served(router, [chat(f"{n} " + "x" * 2000) for n in range(80)])
    assert len(shares) == 4
    assert max(shares.values()) - min(shares.values()) <= 20


@pytest.mark.parametrize("policy", ["prefix", "least_load"])
async def test_idle_fleet(
    policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Equal workers are equal: ties do not always go to the first."""
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers, policy=policy)
    for n in range(60):
        await router.post(chat(str(n)))
    assert all(6 <= len(worker.requests) <= 40 for worker in workers)


@pytest.mark.parametrize("policy", ["prefix", "least_load"])
async def test_failures_do_not_attract(
    policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A counter that failures take down twice goes below zero, and everything goes to the worker that fails."""
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers, policy=policy)

    async def fails(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.01)
        await wire.json({}, 500)

    async def works(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.01)
        await wire.json({})

    workers[0].script, workers[1].script, workers[2].script = fails, works, works

    async def tenant() -> None:
        async with router.connect() as client:
            for n in range(15):
                await client.call(CHAT, chat(f"{id(client)} {n}"))

    await asyncio.gather(*(tenant() for _ in range(12)))
    shares = [len(worker.requests) / 180 for worker in workers]
    assert all(0.2 <= share <= 0.47 for share in shares), shares


async def test_same_text_and_other_images(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Requests that differ only in their image are not one prompt; the same image again is."""
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers)

    def look(image: int) -> dict[str, Any]:
        tail = f"{image:04d}" * 400
        parts = [
            {"type": "text", "text": "What is in this picture?"},
            {"type": "image_url", "image_url": {"url": f"http://cdn.example/pictures/{tail}.png"}},
        ]
        return {"model": "m", "messages": [{"role": "user", "content": parts}]}

    for worker in workers:
        worker.script = _slow
    answers = await asyncio.gather(*(router.post(look(image)) for image in range(45)))
    first = [answer.header("x-router-worker") for answer in answers]
    assert len(set(first)) == 3
    assert min(Counter(first).values()) >= 4
    for worker in workers:
        worker.script = echo
    again = [(await router.post(look(image))).header("x-router-worker") for image in range(45)]
    assert again == first


async def test_restarted_worker_is_not_fed_everything(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """An empty cache is no reason to be preferred."""
    workers = [await start_worker() for _ in range(4)]
    router = await start_router(*workers)
    for n in range(60):
        await router.post(chat(f"{n % 20} " * 300))
    newcomer: FakeWorker = workers[0]
    await newcomer.stop()
    await asyncio.sleep(0.3)
    await newcomer.start()
    await eventually(lambda: all(worker.up for worker in router.workers))
    newcomer.requests.clear()
    for n in range(60):
        await router.post(chat(f"new {n} " * 300))
    assert len(newcomer.requests) < 60 * 0.45


async def test_router_stays_responsive(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Work on the loop that grows with prompts lets the router's own health check time out under load."""
    worker = await start_worker(script=_slow)
    router = await start_router(worker, room_tokens=10**9)
    prompts = [router.post(chat(f"{n}" + "x" * 32_000)) for n in range(150)]
    load = asyncio.gather(*prompts)
    waits = []
    loop = asyncio.get_running_loop()
    while not load.done():
        started = loop.time()
        assert (await router.get("/health")).status == 200
        waits.append(loop.time() - started)
        await asyncio.sleep(0.01)
    await load
    assert sorted(waits)[len(waits) // 2] < 0.25
