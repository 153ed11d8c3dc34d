"""Who is taken out, who is not, and who comes back."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, chat, eventually
from tests.fakes.client import Client
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import held, sse
from tests.field.support import SLOW_PROBES, answers, delta, hangs, pinned, states


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_bad_requests_do_not_take_a_worker_out(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cb-4xx: one tenant's bad requests count as the worker's failures and take it from all others."""
    workers = [await start_worker(), await start_worker()]

    async def judges(request: Request, wire: Wire) -> None:
        await wire.json({}, status if b"bad" in request.body else 200)

    for worker in workers:
        worker.script = judges
    router = await start_router(*workers, policy="round_robin", **SLOW_PROBES)
    async with router.connect() as client:
        for _ in range(50):
            assert (await client.call(CHAT, chat("bad"))).status == status
        served = [await client.call(CHAT, chat("good")) for _ in range(4)]
    assert {answer.status for answer in served} == {200}
    assert {answer.header("x-router-worker") for answer in served} == {w.id for w in workers}
    assert all(each["up"] for each in (await states(router)).values())


async def test_bad_requests_do_not_multiply(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cb-4xx: requests that fail by their own fault must not have their worker asked about its health each time."""
    worker = await start_worker(script=answers(500))
    router = await start_router(worker, metrics_interval_s=60, **SLOW_PROBES)
    before, connections = len(worker.probes), worker.accepted
    async with router.connect() as client:
        for _ in range(100):
            assert (await client.call(CHAT, chat("bad"))).status == 500
    assert len(worker.probes) - before <= 20
    assert worker.accepted - connections <= 20


async def test_worker_that_held_the_prefix_dies(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """dead-worker-selected: the best cache score wins although its worker is known to be dead."""
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers, **SLOW_PROBES)
    body = chat("a long prompt " * 1000)
    home = {(await router.post(body)).header("x-router-worker") for _ in range(3)}
    (holder,) = [worker for worker in workers if {worker.id} == home]
    await holder.stop()
    for _ in range(3):
        answer = await router.post(body)
        assert answer.status == 200
        assert answer.header("x-router-worker") != holder.id
    assert router.total("router_retries_total") == 1
    assert [line["attempts"] for line in router.lines()[3:]] == [2, 1, 1]


async def test_busy_is_over_when_the_work_is(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """busy-never-cleared: a burst marks every worker overloaded, and nothing ever takes the mark off."""
    release = asyncio.Event()

    worker = await start_worker(script=held(release))
    router = await start_router(worker, max_inflight=2, queue_limit=0)
    burst = [asyncio.ensure_future(router.post(chat(str(n)))) for n in range(12)]
    await worker.received_count(2)
    await eventually(lambda: sum(one.done() for one in burst) == 10)
    release.set()
    statuses = Counter(answer.status for answer in await asyncio.gather(*burst))
    assert statuses == {200: 2, 503: 10}
    for _ in range(4):
        assert (await router.post(chat())).status == 200


@pytest.mark.parametrize("retry_after", [None, "1"])
async def test_refusing_workers_are_asked_again(
    retry_after: str | None, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """busy-never-cleared: workers that turned everybody away for a moment serve when they are well again."""
    fields = [] if retry_after is None else [("Retry-After", retry_after)]

    async def refuses(request: Request, wire: Wire) -> None:
        await wire.json({}, 503, fields)

    workers = [await start_worker(script=refuses) for _ in range(2)]
    router = await start_router(*workers, eject_s=0.2, **SLOW_PROBES)
    for _ in range(12):
        assert (await router.post(chat())).status == 503
    for worker in workers:
        worker.script = answers()
    seen: set[str | None] = set()
    async with asyncio.timeout(10):
        while len(seen) < 2:
            answer = await router.post(chat(str(len(seen))))
            assert answer.status == 200
            seen.add(answer.header("x-router-worker"))
            await asyncio.sleep(0.01)


async def test_worker_that_streams_is_not_dead(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """health-busy-dead: a worker too busy for its health check is taken out although its answers flow."""
    busy, other = await start_worker(), await start_worker()
    release = asyncio.Event()

    async def flows(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        while not release.is_set():
            await wire.chunk(sse(delta(), done=False)[0])
            await asyncio.sleep(0.02)
        await wire.end()

    busy.script = flows
    router = await start_router(busy, other, health_interval_s=0.02, health_timeout_s=0.1)
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True), pinned(busy))
        response = await client.head()
        reading = asyncio.ensure_future(client.body(response))
        busy.routes["/health"] = hangs
        seen = len(busy.probes)
        await busy.until(lambda: len(busy.probes) >= seen + 6)
        assert (await states(router))[busy.id]["up"], "its bytes flow"
        release.set()
        await reading
    assert response.complete
    await eventually(lambda: not all(worker.up for worker in router.workers))


async def test_worker_whose_answers_are_broken_off_is_not_dead(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """health-busy-dead: clients that leave must not hide that bytes still flow to others."""
    busy, other = await start_worker(), await start_worker()
    release, missed = asyncio.Event(), asyncio.Event()
    leaving: list[Client] = []

    async def flows(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        long = b"long" in request.body
        for _ in range(1000 if long else 40):
            await wire.chunk(sse(delta(), done=False)[0])
            await asyncio.sleep(0.02 if long else 0.002)
            if release.is_set():
                break
        await release.wait()
        await wire.end()

    async def busy_health(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.02)  # what came until now is counted
        if leaving:
            await leaving.pop().leave()
        else:
            missed.set()
        await wire.hang()

    busy.script = flows
    router = await start_router(busy, other, health_interval_s=0.02, health_timeout_s=0.15)
    async with AsyncExitStack() as clients:
        for text in ("long", *("short",) * 6):
            client = await clients.enter_async_context(router.connect())
            await client.post(CHAT, chat(text, stream=True), pinned(busy))
            response = await client.head()
            if text == "short":
                async for _ in client.chunks(response):
                    if len(response.pieces) >= 40:
                        break
                leaving.append(client)
        busy.routes["/health"] = busy_health
        await asyncio.wait_for(missed.wait(), 10)
        assert (await states(router))[busy.id]["up"], "bytes flow all the time"
        release.set()


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_failing_worker_gets_only_probes(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cb-missing: a worker that fails every request keeps the requests whose prefix it holds."""
    failing, well = await start_worker(), await start_worker()
    router = await start_router(
        failing, well, eject_failures=3, eject_s=30, policy="prefix", **SLOW_PROBES
    )
    body = chat("what it holds " * 500)
    assert (await router.post(body, headers=pinned(failing))).status == 200
    failing.script = answers(status)
    failing.requests.clear()
    async with router.connect() as client:
        for _ in range(40):
            await client.call(CHAT, body)
    assert (await states(router))[failing.id]["state"] == "ejected"
    assert len(failing.requests) <= 6
    assert len(well.requests) >= 34


async def test_ejected_worker_comes_back(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cb-missing: a worker that was taken out is tried with a few requests, and is back when they succeed."""
    failing, well = await start_worker(script=answers(502)), await start_worker()
    router = await start_router(
        failing, well, eject_failures=2, eject_s=0.3, policy="round_robin", **SLOW_PROBES
    )
    async with router.connect() as client:
        for _ in range(8):
            await client.call(CHAT, chat())
        assert (await states(router))[failing.id]["state"] == "ejected"
        failing.script = answers()
        async with asyncio.timeout(10):
            while (await states(router))[failing.id]["state"] != "up":
                assert (await client.call(CHAT, chat())).status == 200
                await asyncio.sleep(0.01)
