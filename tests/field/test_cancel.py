"""Clients that leave, and what is counted of requests however they end."""

import asyncio
from collections import Counter

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker
from tests.field.support import SLOW_PROBES, answers, hangs, pinned, states, streams


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_before_the_first_token(
    stream: bool, worker: FakeWorker, router: RunningRouter
) -> None:
    """cancel-during-ttft: a client that leaves while the worker is silent is only missed at the next write."""
    worker.script = hangs
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=stream))
        (sent,) = await worker.received_count(1)
        await client.leave()
        await asyncio.wait_for(sent.wire.closed.wait(), 2.0)
    await eventually(lambda: router.inflight == 0)
    assert (await router.line())["outcome"] == "cancelled"


async def test_in_flight_returns_to_zero(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """inflight-leak: only answers that succeed are taken off a worker's load, so that errors keep it busy for ever."""
    worker, gone = await start_worker(), await start_worker(models=("gone",))
    router = await start_router(worker, gone, **SLOW_PROBES)
    await gone.stop()

    async def script(request: Request, wire: Wire) -> None:
        if request.json()["user"] == "left":
            await wire.hang()
        await wire.json({}, 500 if request.json()["user"] == "error" else 200)

    worker.script = script

    async def one(kind: str) -> int:
        async with router.connect() as client:
            model = "gone" if kind == "refused" else "m"
            await client.post(CHAT, chat(user=kind, model=model))
            if kind == "left":
                await worker.until(lambda: any(b'"left"' in r.body for r in worker.requests))
                await client.leave()
                return 0
            return (await client.response()).status

    kinds = ["ok", "error", "left", "refused"] * 25
    assert Counter(await asyncio.gather(*map(one, kinds))) == {200: 25, 500: 25, 0: 25, 502: 25}
    await eventually(lambda: router.inflight == 0)
    shown = (await states(router)).values()
    assert {each["inflight"] for each in shown} == {0}
    assert {each["pending_prefill_tokens"] for each in shown} == {0}


@pytest.mark.parametrize("policy", ["prefix", "least_load"])
async def test_failures_do_not_draw_traffic(
    policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """counter-negative: a failure that is counted twice makes a worker's load negative, and all traffic go to it."""
    workers = [await start_worker(script=answers(after_s=0.01)) for _ in range(3)]
    router = await start_router(*workers, policy=policy, **SLOW_PROBES)
    tried: set[str] = set()

    async def fails_first(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.01)
        first = request.json()["user"] not in tried
        tried.add(request.json()["user"])
        await wire.json({}, 500 if first else 200)

    workers[0].script = fails_first
    lowest = 0

    async def client(name: int) -> None:
        nonlocal lowest
        async with router.connect() as connection:
            for n in range(25):
                user = f"{name} {n}"
                answer = await connection.call(CHAT, chat(user, user=user))
                while answer.status == 500:  # as client libraries do
                    answer = await connection.call(CHAT, chat(user, user=user))
                lowest = min(lowest, *(worker.load.inflight for worker in router.workers))

    await asyncio.gather(*map(client, range(12)))
    total = sum(len(worker.requests) for worker in workers)
    shares = [len(worker.requests) / total for worker in workers]
    assert total >= 300
    assert lowest == 0
    assert all(0.2 <= share <= 0.47 for share in shares), shares


async def test_leaving_aborts_by_default(worker: FakeWorker, router: RunningRouter) -> None:
    """cancel-stop-vs-kill: what becomes of a running answer when its client leaves: by default it is stopped."""
    worker.script = streams(500, delay_s=0.02)
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        await client.head()
        (sent,) = worker.requests
        before = sent.wire.served
        await client.leave()
        await asyncio.wait_for(sent.wire.closed.wait(), 2.0)
    assert sent.wire.served == before, "the answer was not finished"


async def test_leaving_may_let_the_answer_end(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cancel-stop-vs-kill: an operator may prefer that the worker finishes, so that its cache holds the prompt."""
    worker = await start_worker(script=answers(after_s=0.3))
    router = await start_router(worker, finish_abandoned_s=5)
    async with router.connect() as client:
        await client.post(CHAT, chat(), pinned(worker))
        (sent,) = await worker.received_count(1)
        await client.leave()
    await worker.until(lambda: sent.wire.served == 1)
