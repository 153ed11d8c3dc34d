"""Nothing accumulates, whatever requests come and however they end."""

import asyncio
import gc

from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse


async def _mixed(request: Request, wire: Wire) -> None:
    kind = request.header("x-do")
    if kind == "stream":
        await wire.stream(sse({"n": 1}, {"n": 2}))
    elif kind == "hang":
        await wire.hang()
    elif kind == "break":
        await wire.stream(sse({"n": 1}, done=False), end=False)
        wire.reset()
    else:
        await wire.json({}, int(kind or 200))


async def _round(router: RunningRouter, worker: FakeWorker) -> None:
    """Every kind of ending."""
    async with router.connect() as client:
        for kind in ("200", "stream", "500", "404"):
            await client.call(CHAT, chat(stream=kind == "stream"), [("x-do", kind)])
        await client.call(CHAT, {"model": "nope"})
    for kind in ("break", "hang"):
        async with router.connect() as client:
            await client.post(CHAT, chat(stream=True), [("x-do", kind)])
            if kind == "break":
                await client.response()
            else:
                await asyncio.sleep(0.005)
    worker.requests.clear()


async def test_objects(worker: FakeWorker, router: RunningRouter) -> None:
    """After the first rounds another hundred leaves no object behind."""
    worker.script = _mixed

    async def rounds(count: int) -> int:
        for _ in range(count):
            await _round(router, worker)
        await eventually(lambda: router.inflight == 0)
        await eventually(lambda: not router.server.server_state.connections)
        worker.probes.clear()
        router.app.reporter.settle()
        gc.collect()
        return len(gc.get_objects())

    await rounds(20)
    before = await rounds(5)
    grown = await rounds(60) - before
    assert grown < 600, f"{grown} objects more after 420 requests"


async def test_index_is_bounded(worker: FakeWorker, start_router: StartRouter) -> None:
    """Prompts that never repeat must not fill memory: what is remembered of them has a limit."""
    router = await start_router(worker, index_max_blocks=1000)
    async with router.connect() as client:
        for n in range(150):
            await client.call(CHAT, chat(f"{n} " * 6000))
            assert router.total("router_index_blocks") <= 1100


async def test_worker_connections_are_not_kept_for_ever(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """After a burst the idle ones go, sooner than the worker would close them."""
    router = await start_router(worker, worker_idle_s=0.3, health_interval_s=60)

    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.1)
        await wire.json({})

    worker.script = slow
    await asyncio.gather(*(router.post(chat()) for _ in range(30)))
    assert len(worker.wires) >= 25
    await eventually(lambda: len(worker.wires) == 0)
