"""Workers that are not there yet, not there any more, or somewhere else."""

import asyncio
import socket
from typing import Any

import pytest

from router import app as composition
from router.settings import Settings
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import chat, eventually, running
from tests.fakes.worker import FakeWorker

DEAD = "http://127.0.0.1:1"


async def test_one_of_three_is_dead(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """startup-one-bad: one worker that cannot be reached keeps the router from starting."""
    assert composition._FIRST_PROBE_S < 5.0, "it is not waited for longer"
    monkeypatch.setattr(composition, "_FIRST_PROBE_S", 0.3)
    workers = [await start_worker(), await start_worker()]
    router = await start_router(workers[0], DEAD, workers[1])
    served = [await router.post(chat(str(n))) for n in range(4)]
    assert {answer.status for answer in served} == {200}
    assert (await router.get("/ready")).status == 200


async def test_router_before_its_workers(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """startup-race-zero: a router that calls itself ready before any worker is there turns everybody away."""
    monkeypatch.setattr(composition, "_FIRST_PROBE_S", 0.1)
    worker = await start_worker()
    await worker.stop()
    router = await start_router(worker)
    assert (await router.get("/health")).status == 200
    assert (await router.get("/ready")).status == 503
    assert (await router.post(chat())).status == 503
    await worker.start()
    await eventually(lambda: router.app.fleet.ready)
    assert (await router.get("/ready")).status == 200
    assert (await router.post(chat())).status == 200


async def test_no_worker_with_a_model(start_worker: StartWorker, start_router: StartRouter) -> None:
    """startup-race-zero: a worker that serves no model yet makes nobody ready."""
    worker = await start_worker(models=())
    router = await start_router(worker)
    assert (await router.get("/health")).status == 200
    assert (await router.get("/ready")).status == 503


@pytest.mark.parametrize("idle", [True, False])
def test_name_that_moves(idle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """dns-change: a worker that was restarted has another address, and the old one is asked for ever."""
    address = "127.0.0.2"
    resolve = socket.getaddrinfo

    def resolver(host: Any, *args: Any, **named: Any) -> Any:
        return resolve(address if host == "worker.test" else host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)

    async def moves() -> None:
        nonlocal address
        async with FakeWorker(host="127.0.0.2") as old:
            url = f"http://worker.test:{old.port}"
            quick: dict[str, Any] = {
                "health_interval_s": 0.1 if idle else 60,
                "models_interval_s": 60,
            }
            async with running(Settings(workers=[url], **quick)) as router:
                assert (await router.post(chat())).status == 200
                new = FakeWorker(host="127.0.0.3")
                new.port = old.port
                async with new:
                    address = "127.0.0.3"
                    await old.stop()
                    if idle:  # it is found by the probes
                        await eventually(lambda: bool(new.probes))
                        await eventually(lambda: router.workers[0].up)
                    answer = await router.post(chat())
                    assert answer.status == 200
                    assert new.requests

    asyncio.run(moves())  # on asyncio's own loop, whose resolver can be told what to say
