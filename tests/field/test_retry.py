"""When another try is made, and when it is not."""

import asyncio

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.field.support import SLOW_PROBES, answers, delta, resets


async def test_worker_that_closes_idle_connections(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """keepalive-reset: a kept connection is closed by the worker just as the next request is written to it."""
    worker = await start_worker()
    router = await start_router(worker, worker_idle_s=60, **SLOW_PROBES)
    loop = asyncio.get_running_loop()

    async def closes_soon(request: Request, wire: Wire) -> None:
        await wire.json({})
        loop.call_later(0.03, wire.close)

    worker.script = closes_soon
    async with router.connect() as client:
        for _ in range(50):
            assert (await client.call(CHAT, chat())).status == 200
            await asyncio.sleep(0.03)


async def test_connection_reset_as_the_request_arrives(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """keepalive-reset: nothing of an answer came on a used connection: one more try on a new one."""
    used: set[Wire] = set()

    async def serves_once(request: Request, wire: Wire) -> None:
        if wire in used:
            wire.reset()
            return
        used.add(wire)
        await wire.json({})

    worker.script = serves_once
    for _ in range(10):
        assert (await router.post(chat())).status == 200
    assert router.total("router_retries_total", reason="stale_connection") > 0


async def test_reset_within_a_stream_is_told(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """retry-double: a stream that broke off is asked for again, and the client gets both mixed."""
    workers = [await start_worker(), await start_worker()]

    async def breaks_off(request: Request, wire: Wire) -> None:
        await wire.stream(sse(delta("one"), delta("two"), done=False), end=False)
        await asyncio.sleep(0.05)
        wire.reset()

    for worker in workers:
        worker.script = breaks_off
    router = await start_router(*workers, **SLOW_PROBES)
    answer = await router.post(chat(stream=True))
    assert sum(len(worker.requests) for worker in workers) == 1
    assert answer.body.count(b"one") == answer.body.count(b"two") == 1
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body


async def test_reset_before_any_byte_gives_one_answer(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """retry-double: after a reset before the answer the client gets one whole answer, or one error."""
    dying, well = await start_worker(script=resets), await start_worker(script=answers())
    router = await start_router(dying, well, policy="round_robin", **SLOW_PROBES)
    for _ in range(4):
        answer = await router.post(chat())
        assert answer.complete
        assert answer.status in {200, 502}
    assert len(well.requests) <= 4, "nothing was done twice by a worker that is well"


async def test_what_stores_is_not_done_twice(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """retry-double: a request that leaves something behind is not repeated after it was sent."""
    dying, well = await start_worker(script=resets), await start_worker()
    router = await start_router(dying, well, policy="round_robin", **SLOW_PROBES)
    await dying.drop()  # a connection that had been used might have been lost before
    await eventually(lambda: any("0 idle" in repr(each.pool) for each in router.workers))
    found = [await router.post({"model": "m", "input": "x"}, "/v1/responses") for _ in range(2)]
    assert sorted(answer.status for answer in found) == [200, 502]
    assert (len(dying.requests), len(well.requests)) == (1, 1)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_the_only_worker_is_asked_again(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cooldown-all: a cool-down takes the only worker out, so that nobody is asked at all."""
    worker = await start_worker(script=answers(status))
    router = await start_router(worker, **SLOW_PROBES)
    for count in range(1, 9):
        assert (await router.post(chat())).status == status
        assert len(worker.requests) == count
    worker.script = answers()
    assert (await router.post(chat())).status == 200


async def test_the_only_worker_was_away(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cooldown-all: the only worker could not be reached a moment ago: it is asked all the same."""
    worker = await start_worker()
    router = await start_router(worker, **SLOW_PROBES)
    await worker.stop()
    for _ in range(3):
        assert (await router.post(chat())).status == 502
    await worker.start()
    assert (await router.post(chat())).status == 200


async def test_all_workers_fail_at_once(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """cooldown-all: when every worker has failed they are asked all the same, as a last resort."""
    workers = [await start_worker(script=answers(502)) for _ in range(3)]
    router = await start_router(*workers, **SLOW_PROBES)
    for n in range(40):
        answer = await router.post(chat(str(n)))
        assert answer.status == 502
        assert answer.header("x-router-worker") in {worker.id for worker in workers}
    for worker in workers:
        worker.script = answers()
    assert (await router.post(chat())).status == 200
