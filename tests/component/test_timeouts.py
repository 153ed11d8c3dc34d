"""Workers that say nothing: each limit ends the answer of one, and what it ends is tried elsewhere where that is safe."""

import asyncio

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, held, sse

TOKEN = {"choices": [{"delta": {"content": "a"}}]}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are looked at once a second; tests need not wait so long."""
    monkeypatch.setattr("router.fleet.fleet._LOOK_S", 0.05)


async def black_hole(request: Request, wire: Wire) -> None:
    await wire.hang()


async def one_token(request: Request, wire: Wire) -> None:
    await wire.stream(sse(TOKEN, done=False), end=False)
    await wire.hang()


async def head_only(request: Request, wire: Wire) -> None:
    await wire.start(200, [("Content-Type", "text/event-stream")])
    await wire.hang()


async def drips(request: Request, wire: Wire) -> None:
    await wire.stream(sse(*[TOKEN] * 1000), delay_s=0.05)


@pytest.mark.parametrize("script", [black_hole, head_only])
async def test_no_first_byte_and_another_worker(
    script: object, start_worker: StartWorker, start_router: StartRouter
) -> None:
    hole, well = await start_worker(script=script), await start_worker()
    router = await start_router(
        hole, well, policy="round_robin", first_byte_timeout_s=1.0, health_interval_s=30
    )
    for _ in range(2):
        response = await router.post(chat(stream=True))
        assert (response.status, response.header("x-router-worker")) == (200, well.id)
    await eventually(lambda: all(request.wire.closed.is_set() for request in hole.requests))
    assert router.total("router_retries_total", reason="worker_lost") >= 1


async def test_no_first_byte_and_nobody_else(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    hole = await start_worker(script=black_hole)
    router = await start_router(hole, first_byte_timeout_s=0.3, health_interval_s=30)
    response = await router.post(chat())
    assert response.status == 504
    assert response.json()["error"]["code"] == "worker_timeout"
    assert "did not begin to answer within 0.3 s" in response.json()["error"]["message"]
    await eventually(hole.requests[0].wire.closed.is_set)


async def test_an_endpoint_with_a_limit_of_its_own(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    hole = await start_worker(script=black_hole)
    router = await start_router(
        hole,
        first_byte_timeouts={"embeddings": 0.2},
        first_byte_timeout_s=30,
        health_interval_s=30,
    )
    async with router.connect() as client:
        await client.post(CHAT, chat())
        response = await router.post({"model": "m", "input": "x"}, "/v1/embeddings")
        assert response.status == 504
        assert router.inflight == 1, "the other is still waited for"


async def test_silence_in_the_middle(start_worker: StartWorker, start_router: StartRouter) -> None:
    worker = await start_worker(script=one_token)
    router = await start_router(worker, idle_timeout_s=0.3, health_interval_s=30)
    response = await router.post(chat(stream=True))
    assert response.complete
    assert response.body.startswith(b"".join(sse(TOKEN, done=False)))
    assert b"sent nothing for 0.3 s in the middle of its answer" in response.body
    assert b"[DONE]" not in response.body
    await eventually(worker.requests[0].wire.closed.is_set)


async def test_an_answer_that_takes_its_time_is_not_silent(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    async def slow(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*[TOKEN] * 30), delay_s=0.05)

    worker = await start_worker(script=slow)
    router = await start_router(worker, idle_timeout_s=1.0, first_byte_timeout_s=1.0)
    response = await router.post(chat(stream=True))
    assert response.body == b"".join(sse(*[TOKEN] * 30))


async def test_all_of_it(start_worker: StartWorker, start_router: StartRouter) -> None:
    worker, other = await start_worker(script=drips), await start_worker(script=drips)
    router = await start_router(worker, other, total_timeout_s=0.5, health_interval_s=30)
    response = await router.post(chat(stream=True))
    assert b"0.5 s" in response.body
    assert b"[DONE]" not in response.body
    assert len(worker.requests) + len(other.requests) == 1
    await eventually(lambda: not router.inflight)


async def test_all_of_it_before_the_first_byte_is_over_at_once(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Nobody else is sent a request whose time is over."""
    workers = [await start_worker(script=black_hole) for _ in range(2)]
    router = await start_router(*workers, total_timeout_s=0.3, health_interval_s=30)
    response = await router.post(chat())
    assert response.status == 504
    assert sum(len(worker.requests) for worker in workers) == 1


async def test_a_client_that_does_not_read_is_not_its_worker_s_fault(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    piece = b"data: " + b"x" * 60_000 + b"\n\n"

    async def much(request: Request, wire: Wire) -> None:
        await wire.stream([piece] * 200)

    worker = await start_worker(script=much)
    router = await start_router(worker, idle_timeout_s=0.7, health_interval_s=30)
    async with router.connect(receive_buffer=4096) as client:
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        await worker.until(lambda: any(wire.stalled for wire in worker.wires))
        await asyncio.sleep(1.5)
        await client.body(response)
    assert response.complete
    assert response.body == piece * 200


async def test_a_worker_that_goes_down_without_a_word(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that hangs: its connections stay open, its health checks fail; its answers are not awaited for ever."""
    monkeypatch.setattr("router.upstream.limits.ABANDONED_S", 0.3)
    hung, well = await start_worker(script=one_token), await start_worker()
    router = await start_router(
        hung, well, policy="round_robin", health_timeout_s=0.1, health_interval_s=0.1
    )
    async with router.connect() as streaming:
        await streaming.post(CHAT, chat(stream=True), [("x-router-worker", hung.id)])
        response = await streaming.head()
        hung.script = black_hole
        asked = [asyncio.create_task(router.post(chat())) for _ in range(2)]
        await hung.received_count(2)
        hung.routes["/health"] = black_hole
        await streaming.body(response)
        assert b"fails its health checks and has gone silent" in response.body
        for answer in await asyncio.gather(*asked):
            assert (answer.status, answer.header("x-router-worker")) == (200, well.id)
    states = {w["id"]: w["state"] for w in (await router.get("/workers")).json()["workers"]}
    assert states == {hung.id: "down", well.id: "up"}


async def test_a_kept_alive_connection_is_never_late(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(
        worker, first_byte_timeout_s=0.7, idle_timeout_s=0.7, total_timeout_s=0.7
    )
    await router.post(chat())
    await asyncio.sleep(1.5)
    assert not worker.requests[0].wire.closed.is_set()
    assert (await router.post(chat())).status == 200


async def test_a_request_that_waits_ends_in_time_and_is_not_sent_any_more(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Whoever waited through its time would only take a worker's from others."""
    release = asyncio.Event()

    worker = await start_worker(script=held(release))
    router = await start_router(worker, total_timeout_s=0.5, queue_timeout_s=60, max_inflight=1)
    answers = await asyncio.gather(*(router.post(chat(f"q{n}")) for n in range(4)))
    assert [answer.status for answer in answers] == [504] * 4
    assert {answer.json()["error"]["code"] for answer in answers} == {"request_timeout"}
    assert len(worker.requests) == 1
    release.set()
