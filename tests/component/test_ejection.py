"""A worker whose answers fail gets none for a while, and comes back slowly; people and metrics see that."""

import asyncio
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

STATES = ("up", "draining", "asleep", "paused", "down", "ejected", "probation")


async def broken(request: Request, wire: Wire) -> None:
    await wire.json({}, 502)


async def fine(request: Request, wire: Wire) -> None:
    await wire.json({})


async def shown(router: RunningRouter, worker: FakeWorker) -> dict[str, Any]:
    """What /workers says of one."""
    workers = (await router.get("/workers")).json()["workers"]
    (found,) = [each for each in workers if each["id"] == worker.id]
    return dict(found)


def counted(router: RunningRouter, worker: FakeWorker) -> list[str]:
    """The states that metrics show."""
    return [
        state
        for state in STATES
        if router.total("router_worker_state", worker=worker.id, state=state)
    ]


async def _pair(
    start_worker: StartWorker, start_router: StartRouter, **settings: Any
) -> tuple[FakeWorker, FakeWorker, RunningRouter]:
    ill, well = await start_worker(script=broken), await start_worker(script=fine)
    router = await start_router(
        ill, well, policy="round_robin", health_interval_s=30, eject_failures=2, **settings
    )
    return ill, well, router


async def _until(router: RunningRouter, worker: FakeWorker, state: str) -> None:
    async with asyncio.timeout(10):
        while (await shown(router, worker))["state"] != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _until_ejected(router: RunningRouter, ill: FakeWorker) -> None:
    (worker,) = [worker for worker in router.workers if worker.id == ill.id]
    for _ in range(10):
        await router.post(chat())
        if worker.circuit.opened:
            return
    raise AssertionError("it was never ejected")


async def test_ejected(start_worker: StartWorker, start_router: StartRouter) -> None:
    ill, well, router = await _pair(start_worker, start_router, eject_s=30)
    assert (await shown(router, ill))["state"] == "up"
    await _until_ejected(router, ill)
    before = len(ill.requests)
    for _ in range(6):
        response = await router.post(chat())
        assert (response.status, response.header("x-router-worker")) == (200, well.id)
    assert len(ill.requests) == before == 2
    assert (await shown(router, ill))["up"] is True, "it passes health checks"
    assert (counted(router, ill), counted(router, well)) == (["ejected"], ["up"])


async def test_and_slowly_back(start_worker: StartWorker, start_router: StartRouter) -> None:
    ill, _, router = await _pair(start_worker, start_router, eject_s=0.3)
    await _until_ejected(router, ill)
    release = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({})

    ill.script = waits
    await _until(router, ill, "probation")
    assert counted(router, ill) == ["probation"]
    before = len(ill.requests)
    asked = [asyncio.create_task(router.post(chat())) for _ in range(8)]
    await eventually(lambda: sum(task.done() for task in asked) == 7)
    assert len(ill.requests) == before + 1, "one at a time"
    release.set()
    assert [response.status for response in await asyncio.gather(*asked)] == [200] * 8
    for _ in range(20):
        await router.post(chat())
    assert (await shown(router, ill))["state"] == "up"
    assert counted(router, ill) == ["up"]


async def test_and_out_again_if_that_goes_wrong(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """One failure on probation is enough."""
    ill, well, router = await _pair(start_worker, start_router, eject_s=0.3)
    await _until_ejected(router, ill)
    await _until(router, ill, "probation")
    (worker,) = [worker for worker in router.workers if worker.id == ill.id]
    for _ in range(4):
        await router.post(chat())
        if worker.circuit.opened == 2:
            break
    assert worker.circuit.opened == 2
    assert len(ill.requests) == 3
    assert well.requests, "meanwhile the other one was asked"


async def test_all_of_them_are_asked_again(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Better an answer that may fail than none."""
    workers = [await start_worker(script=broken) for _ in range(2)]
    router = await start_router(
        *workers, policy="round_robin", health_interval_s=30, eject_failures=2, eject_s=30
    )
    for _ in range(6):
        assert (await router.post(chat())).status == 502
    assert [w["state"] for w in (await router.get("/workers")).json()["workers"]] == ["ejected"] * 2
    assert (await router.get("/ready")).status == 200
    for worker in workers:
        worker.script = fine
    assert (await router.post(chat())).status == 200


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
async def test_not_for_what_may_be_the_request_s_fault(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    worker, other = await start_worker(), await start_worker()
    router = await start_router(
        worker, other, policy="round_robin", health_interval_s=30, eject_failures=2
    )

    async def refuses(request: Request, wire: Wire) -> None:
        await wire.json({}, status)

    worker.script = refuses
    async with router.connect() as client:
        for _ in range(30):
            await client.call(CHAT, chat(), [("x-router-worker", worker.id)])
    assert (await shown(router, worker))["state"] == "up"
    assert counted(router, worker) == ["up"]


@pytest.mark.parametrize(
    ("path", "said", "status", "state"),
    [
        ("/detokenize", b'{"error":{"message":"cannot schedule new futures after shutdown"}}', 500, "draining"),
        ("/is_paused", b'{"is_paused": true}', 200, "paused"),
    ],
)  # fmt: skip
async def test_conditions_are_found_and_shown(
    path: str,
    said: bytes,
    status: int,
    state: str,
    start_worker: StartWorker,
    start_router: StartRouter,
) -> None:
    """The worker is asked how it is; it gets nothing new while it would refuse that or let it wait."""
    odd, well = await start_worker(), await start_worker()

    async def usual(request: Request, wire: Wire) -> None:
        await wire.json({"is_paused": False})

    async def says(request: Request, wire: Wire) -> None:
        await wire.reply(status, [("Content-Type", "application/json")], said)

    odd.probed[path] = usual
    router = await start_router(odd, well, policy="round_robin", health_interval_s=0.1)
    assert (await shown(router, odd))["state"] == "up"
    odd.probed[path] = says
    await eventually(lambda: counted(router, odd) == [state])
    assert (await shown(router, odd))["state"] == state
    for _ in range(4):
        assert (await router.post(chat())).header("x-router-worker") == well.id
    odd.probed[path] = usual
    await eventually(lambda: counted(router, odd) == ["up"])
    assert {(await router.post(chat())).header("x-router-worker") for _ in range(4)} == {
        odd.id,
        well.id,
    }
