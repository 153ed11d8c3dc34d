"""Workers die, come back and get slow; only what concerns all requests takes one out."""

import asyncio
from time import perf_counter

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

DEAD = "http://127.0.0.1:1"


async def test_one_dead_url_of_three(start_worker: StartWorker, start_router: StartRouter) -> None:
    """One unreachable worker used to keep the router from starting."""
    started = perf_counter()
    workers = [await start_worker(), await start_worker()]
    router = await start_router(workers[0], DEAD, workers[1])
    for _ in range(6):
        assert (await router.post(chat())).status == 200
    assert perf_counter() - started < 5.0
    states = {w["id"]: w["up"] for w in (await router.get("/workers")).json()["workers"]}
    assert states == {workers[0].id: True, workers[1].id: True, "127.0.0.1:1": False}
    assert (await router.get("/ready")).status == 200


async def test_name_that_cannot_be_resolved(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down like any other worker that cannot be reached."""
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.3)
    worker = await start_worker()
    router = await start_router("http://no-such-host.invalid:80", worker)
    await eventually(lambda: router.workers[0].last_error is not None)
    for _ in range(2):
        assert (await router.post(chat())).status == 200
    pinned = await router.post(chat(), headers=[("x-router-worker", router.workers[0].id)])
    assert (pinned.status, pinned.json()["error"]["code"]) == (502, "worker_unreachable")


async def test_no_worker_yet(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alive but not ready, so that nobody sends it traffic; ready as soon as a worker serves a model."""
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.1)
    worker = await start_worker()
    await worker.stop()
    router = await start_router(worker)
    assert (await router.get("/health")).status == 200
    assert (await router.get("/ready")).status == 503
    assert (await router.get("/ready", method="HEAD")).status == 503
    for _ in range(2):
        response = await router.post(chat())
        assert response.status == 503
        assert response.json()["error"]["code"] == "no_worker_available"
        assert response.header("retry-after") == "1"
    await worker.start()
    await eventually(lambda: router.app.fleet.ready)
    assert (await router.get("/ready")).status == 200
    assert (await router.post(chat())).status == 200


async def test_no_workers_configured(start_router: StartRouter) -> None:
    router = await start_router()
    assert (await router.get("/health")).status == 200
    assert (await router.get("/ready")).status == 503
    assert (await router.get("/v1/models")).json() == {"object": "list", "data": []}
    assert (await router.post(chat())).status == 503


async def test_worker_without_a_model_is_not_ready(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    router = await start_router(await start_worker(models=()))
    assert (await router.get("/ready")).status == 503


async def test_worker_dies_and_comes_back(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Perhaps with another model than before."""
    first, second = await start_worker(), await start_worker()
    router = await start_router(first, second, policy="round_robin")
    await first.stop()
    await eventually(lambda: [w.up for w in router.workers if w.id == first.id] == [False])
    assert router.total("router_worker_up", worker=first.id) == 0
    for _ in range(4):
        assert (await router.post(chat())).header("x-router-worker") == second.id
    first.cards.append(first.cards[0] | {"id": "new"})
    await first.start()
    await eventually(lambda: all(w.up for w in router.workers))
    assert (await router.post(chat() | {"model": "new"})).header("x-router-worker") == first.id
    served = {(await router.post(chat())).header("x-router-worker") for _ in range(4)}
    assert served == {first.id, second.id}


async def test_all_workers_died_and_one_is_back(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Nobody waits for the next probe: a worker that may be back is better than a certain error."""
    worker = await start_worker()
    router = await start_router(worker, health_interval_s=60)
    await worker.stop()
    assert (await router.post(chat())).status == 502
    await worker.start()
    assert (await router.post(chat())).status == 200


async def test_slow_health_while_streaming(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A long prefill keeps a worker from answering probes; taking it out would only move the load on."""
    worker = await start_worker()

    async def streaming(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*({"n": n} for n in range(8))), delay_s=0.05)

    worker.script = streaming
    router = await start_router(worker, health_timeout_s=0.15, health_interval_s=0.05)
    seen = len(worker.probes)

    async def busy_once(request: Request, wire: Wire) -> None:
        worker.routes["/health"] = quick
        await wire.closed.wait()

    async def quick(request: Request, wire: Wire) -> None:
        await wire.reply()

    worker.routes["/health"] = busy_once
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        ups = [router.workers[0].up async for _ in client.chunks(response)]
    assert response.complete
    assert len(worker.probes) > seen
    assert all(ups)
    assert (await router.get("/ready")).status == 200


async def test_worker_that_does_not_answer_probes_is_down_in_the_end(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    hung, well = await start_worker(), await start_worker()
    router = await start_router(hung, well, health_timeout_s=0.1, health_interval_s=0.05)

    async def hang(request: Request, wire: Wire) -> None:
        await wire.hang()

    hung.routes["/health"] = hang
    await eventually(lambda: [w.up for w in router.workers if w.id == hung.id] == [False])
    assert [w.up for w in router.workers if w.id == well.id] == [True]


async def test_health_that_fails(start_worker: StartWorker, start_router: StartRouter) -> None:
    """An engine that is dead behind its server says so."""
    worker = await start_worker()
    router = await start_router(worker, health_interval_s=0.05)

    async def unwell(request: Request, wire: Wire) -> None:
        await wire.reply(503)

    worker.routes["/health"] = unwell
    await eventually(lambda: not router.workers[0].up)
    assert (await router.get("/ready")).status == 503
    assert "/health" in (await router.get("/workers")).json()["workers"][0]["error"]


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
async def test_answers_never_change_health(
    status: int, worker: FakeWorker, start_router: StartRouter
) -> None:
    """One tenant's bad requests must not take the worker from all others."""
    router = await start_router(worker, health_interval_s=60)

    async def refuse(request: Request, wire: Wire) -> None:
        await wire.json({}, status if b"bad" in request.body else 200)

    worker.script = refuse
    async with router.connect() as client:
        for _ in range(50):
            assert (await client.call(CHAT, chat("bad"))).status == status
        assert (await client.call(CHAT, chat("good"))).status == 200
    assert router.workers[0].up


async def test_lost_connections_do_not_change_health(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """A request that kills its connection may be the request's fault."""
    router = await start_router(worker, health_interval_s=60)

    async def reset(request: Request, wire: Wire) -> None:
        wire.reset()

    worker.script = reset
    for _ in range(5):
        assert (await router.post(chat())).status == 502
    assert router.workers[0].up


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"data": null}', b'{"data": [{}]}', b"<html>", b'{"data": [1]}']
)
async def test_models_that_cannot_be_read(
    body: bytes,
    start_worker: StartWorker,
    start_router: StartRouter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something else answers on the worker's port: the fleet says so and lives on."""
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.1)
    worker = await start_worker()

    async def odd(request: Request, wire: Wire) -> None:
        await wire.reply(200, [], body)

    worker.routes["/v1/models"] = odd
    router = await start_router(worker, health_interval_s=0.05)
    await eventually(lambda: router.workers[0].last_error is not None)
    assert not router.workers[0].up
    del worker.routes["/v1/models"]
    worker.routes["/v1/models"] = worker._models
    await eventually(lambda: router.workers[0].up)


async def test_probe_answers_are_bounded(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model list without an end is not read for ever."""
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.1)
    monkeypatch.setattr("router.upstream.fetch._LIMIT_BYTES", 100_000)
    worker = await start_worker()

    async def endless(request: Request, wire: Wire) -> None:
        await wire.start()
        while True:
            await wire.chunk(b" " * 10_000)
            await asyncio.sleep(0.001)

    worker.routes["/v1/models"] = endless
    router = await start_router(worker, health_interval_s=60, health_timeout_s=30)
    await eventually(lambda: router.workers[0].last_error is not None)
    (wire,) = {probe.wire for probe in worker.probes if probe.path == "/v1/models"}
    await asyncio.wait_for(wire.closed.wait(), 1.0)


async def test_api_key_is_sent_with_probes(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    worker = await start_worker()
    router = await start_router(worker, worker_api_key="secret")
    assert {probe.header("authorization") for probe in worker.probes} == {"Bearer secret"}
    await router.post(chat())
    assert worker.requests[0].all("authorization") == []


async def test_removed_worker_ends_what_it_began(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Running answers go on, new ones go elsewhere, and no connection stays behind."""
    leaving, staying = await start_worker(), await start_worker()
    router = await start_router(leaving, staying)
    release = asyncio.Event()

    async def waits(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({"done": True})

    leaving.script = waits
    async with router.connect() as client:
        await client.post(CHAT, chat(), [("x-router-worker", leaving.id)])
        await leaving.received_count(1)
        router.app.fleet.set_workers([staying.url])
        for _ in range(3):
            assert (await router.post(chat())).header("x-router-worker") == staying.id
        release.set()
        assert (await client.response()).json() == {"done": True}
    await eventually(lambda: not leaving.wires)
    assert not any(leaving.id in str(key) for key in router.samples("router_worker_up"))
    assert router.app.fleet.get(leaving.id) is None
