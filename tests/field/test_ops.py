"""Rolling updates: routers and workers that leave let running answers end."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, chat, eventually
from tests.e2e.harness import ROOT
from tests.fakes.client import Client, Response, connect, request
from tests.fakes.ports import free_ports
from tests.fakes.wire import Request, Wire
from tests.field.support import SLOW_PROBES, answers, asked, pinned, states, streams

HOST = "127.0.0.1"


@asynccontextmanager
async def _router(*workers: str, **settings: float) -> AsyncIterator[tuple[Process, int]]:
    """A router of its own process, ready; its port."""
    (port,) = free_ports(1)
    own = {f"PREFIX_ROUTER_{name.upper()}": str(value) for name, value in settings.items()}
    named = [word for url in workers for word in ("--worker", url)]
    command = ["-m", "router", "serve", "--host", HOST, "--port", str(port), *named]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env={**os.environ, **own}, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(30):
            while await _status(port, "/ready") != 200:
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.05)
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _status(port: int, target: str) -> int | None:
    """An answer's status on a new connection; None: nobody listens."""
    try:
        async with connect(HOST, port) as client:
            await client.send(request("GET", target))
            return (await client.response()).status
    except (OSError, asyncio.IncompleteReadError):
        return None


async def _streams(port: int, count: int, begun: Sequence[asyncio.Event]) -> list[Response]:
    """So many streams at once, read to their ends; each tells when it has begun."""

    async def one(number: int) -> Response:
        async with connect(HOST, port) as client:
            await client.post(CHAT, chat(str(number), stream=True))
            response = await client.head()
            begun[number].set()
            await client.body(response)
            return response

    return await asyncio.gather(*map(one, range(count)))


async def test_running_streams_end(start_worker: StartWorker) -> None:
    """graceful-drain: an update of the router cuts off the streams that run through it."""
    worker = await start_worker(script=streams(12, delay_s=0.1))
    async with _router(worker.url) as (process, port):
        begun = [asyncio.Event() for _ in range(20)]
        running = asyncio.ensure_future(_streams(port, 20, begun))
        for each in begun:
            await each.wait()
        process.send_signal(signal.SIGINT)
        found = await running
        assert all(response.complete for response in found)
        assert all(response.body.endswith(b"data: [DONE]\n\n") for response in found)
        assert {response.body.count(b"data: {") for response in found} == {12}
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert await _status(port, "/health") is None


async def test_load_balancers_are_told_first(start_worker: StartWorker) -> None:
    """graceful-drain: a router that is stopped refuses connections before its load balancer knows."""
    worker = await start_worker(script=streams(25, delay_s=0.1))
    async with (
        _router(worker.url, drain_grace_s=2.0) as (process, port),
        connect(HOST, port) as kept,
    ):
        await _ready(kept, 200)
        begun = [asyncio.Event() for _ in range(20)]
        running = asyncio.ensure_future(_streams(port, 20, begun))
        for each in begun:
            await each.wait()
        process.send_signal(signal.SIGTERM)

        async def told() -> bool:
            return await _status(port, "/ready") == 503

        await asked(told)
        late = [asyncio.Event()]
        (answer,) = await _streams(port, 1, late)
        assert answer.body.endswith(b"data: [DONE]\n\n"), "who comes within the grace is served"
        assert all(response.complete for response in await running)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert await _status(port, "/health") is None


async def _ready(client: Client, status: int) -> None:
    await client.send(request("GET", "/ready"))
    assert (await client.response()).status == status


async def test_worker_that_is_drained(start_worker: StartWorker, start_router: StartRouter) -> None:
    """graceful-drain: a worker that is about to leave goes on getting requests."""
    leaving, staying = await start_worker(), await start_worker()
    release = asyncio.Event()

    async def held(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({"ended": True})

    leaving.script = held
    router = await start_router(leaving, staying, policy="round_robin", **SLOW_PROBES)
    running = asyncio.ensure_future(router.post(chat(), headers=pinned(leaving)))
    await leaving.received_count(1)
    try:
        drained = await router.post({}, f"/workers/{leaving.id}/drain")
        assert drained.status == 200
        assert (await states(router))[leaving.id]["state"] == "draining"
        for _ in range(6):
            assert (await router.post(chat())).header("x-router-worker") == staying.id
    finally:
        release.set()
        ended = await running
    assert ended.json() == {"ended": True}
    leaving.script = answers()
    assert (await router.post({}, f"/workers/{leaving.id}/undrain")).status == 200
    found = {(await router.post(chat())).header("x-router-worker") for _ in range(6)}
    assert found == {leaving.id, staying.id}


async def test_worker_that_drains_by_itself(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """graceful-drain: an engine that was told to stop answers its health check, and fails what it is sent."""
    error = {
        "error": {
            "message": "cannot schedule new futures after shutdown",
            "type": "InternalServerError",
            "param": None,
            "code": 500,
        }
    }
    leaving, staying = await start_worker(script=answers(500, error)), await start_worker()
    router = await start_router(
        leaving, staying, policy="round_robin", retry_budget=1.0, **SLOW_PROBES
    )
    for _ in range(6):
        answer = await router.post(chat())
        assert (answer.status, answer.header("x-router-worker")) == (200, staying.id)
    await eventually(lambda: router.inflight == 0)
