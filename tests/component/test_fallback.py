"""A managed service stands in while no worker serves, and nothing is sent there that is not meant for it."""

import asyncio
import json
from typing import Any

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.worker import FakeWorker


async def before(
    start_router: StartRouter, service: FakeWorker, *workers: FakeWorker | str, **settings: Any
) -> RunningRouter:
    return await start_router(
        *workers,
        fallback_url=f"{service.url}/v1",
        fallback_api_key="secret",
        fallback_models={"m": "there", "only-there": "only-there"},
        **settings,
    )


async def test_it_answers_until_there_is_a_worker(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """From a proof of concept without a GPU to a fleet, under one base URL."""
    service, worker = await start_worker(), await start_worker()
    router = await before(start_router, service)
    assert (await router.get("/ready")).status == 200
    listed = (await router.get("/v1/models")).json()["data"]
    assert [card["id"] for card in listed] == ["m", "only-there"]
    answer = await router.post(chat(), headers=[("Authorization", "Bearer mine"), ("X-Team", "a")])
    assert answer.status == 200
    (asked,) = await service.received_count(1)
    assert json.loads(asked.body)["model"] == "there"
    assert asked.header("authorization") == "Bearer secret"
    assert asked.header("x-team") is None
    assert router.total("router_degraded_total", reason="fallback") == 1

    targets = [known.target for known in router.workers]
    router.app.fleet.set_workers([worker.url])
    router.app.fleet.set_targets([*(w.target for w in router.workers), *targets])
    await eventually(lambda: all(known.up and known.models for known in router.workers))
    assert (await router.post(chat())).status == 200
    assert len(await worker.received_count(1)) == 1
    assert len(await service.received_count(1)) == 1
    assert (await router.post({**chat(), "model": "only-there"})).status == 200
    assert len(await service.received_count(2)) == 2


async def test_nothing_but_requests_is_sent_there(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service, metrics_interval_s=0.05)
    await router.post(chat())
    await asyncio.sleep(0.5)  # several intervals of every probe
    assert [request.path for request in service.requests] == [CHAT]
    assert service.probes == []


async def test_a_request_whose_worker_dies_is_taken_there(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    dying = await start_worker()
    router = await before(start_router, service, dying)
    await dying.stop()
    answer = await router.post(chat())
    assert answer.status == 200
    assert len(await service.received_count(1)) == 1
    line = await router.line()
    assert (line["outcome"], line["worker"]) == ("ok", service.url.removeprefix("http://"))


async def test_a_service_that_is_away_is_tried_again(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service = await start_worker()
    router = await before(start_router, service)
    await service.stop()
    assert (await router.post(chat())).status == 502
    (known,) = router.workers
    assert known.up, "nothing probes it, so nothing may take it for down"


async def test_explain_says_that_it_stands_by(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    service, worker = await start_worker(), await start_worker()
    router = await before(start_router, service, worker)
    await eventually(lambda: all(known.models for known in router.workers))
    answer = (await router.post(chat(), target="/explain")).json()
    assert answer["excluded"] == [{"id": service.url.removeprefix("http://"), "why": "fallback"}]
    rows = (await router.get("/workers")).json()["workers"]
    assert [row["role"] for row in rows] == ["both", "fallback"]


async def test_a_client_cannot_choose_it(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    """It costs the operator money, and has more models than those that are meant."""
    service, worker = await start_worker(), await start_worker()
    router = await before(start_router, service, worker)
    await eventually(lambda: all(known.models for known in router.workers))
    pinned = [("x-router-worker", service.url.removeprefix("http://"))]
    for body in (chat(), {**chat(), "model": "gpt-9"}):
        assert (await router.post(body, headers=pinned)).status == 400
    unnamed = chat()
    del unnamed["model"]
    await worker.stop()
    assert (await router.post(unnamed)).status == 502
    assert service.requests == []


async def test_a_worker_that_comes_is_used_at_once(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    router = await start_router(health_interval_s=60)
    router.app.fleet.set_workers([worker.url])
    await eventually(lambda: router.app.fleet.ready)
    assert (await router.post(chat())).status == 200
