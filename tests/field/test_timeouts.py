"""Workers that accept and say nothing."""

import asyncio
import socket
from contextlib import ExitStack, closing

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CLOSED_WITHIN_S, chat, eventually
from tests.fakes.client import Response
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.field.support import SLOW_PROBES, answers, delta, hangs, scraped


async def _pair(start_worker: StartWorker) -> tuple[FakeWorker, FakeWorker]:
    """A black hole and a worker that is well."""
    return await start_worker(script=hangs), await start_worker(script=answers(value={"ok": 1}))


@pytest.mark.parametrize("stream", [True, False])
async def test_another_worker_serves_what_one_does_not_begin(
    stream: bool, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """hung-backend: one worker that accepts and never answers holds every request it gets for ever."""
    hole, well = await _pair(start_worker)
    router = await start_router(
        hole, well, policy="round_robin", first_byte_timeout_s=0.3, **SLOW_PROBES
    )
    for _ in range(2):
        answer = await router.post(chat(stream=stream))
        assert (answer.status, answer.json()) == (200, {"ok": 1})
    assert len(well.requests) == 2
    assert hole.requests
    for lost in hole.requests:
        await asyncio.wait_for(lost.wire.closed.wait(), CLOSED_WITHIN_S)


async def test_nobody_begins(start_worker: StartWorker, start_router: StartRouter) -> None:
    """hung-backend: where no worker answers the client is told so instead of waiting on."""
    router = await start_router(
        await start_worker(script=hangs), first_byte_timeout_s=0.2, **SLOW_PROBES
    )
    answer = await router.post(chat())
    assert answer.status == 504
    assert answer.json()["error"]["message"]
    assert (await router.line())["outcome"] == "upstream_error"


async def test_an_endpoint_may_have_a_limit_of_its_own(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """hung-backend: one limit for every kind of request is too long for some and too short for others."""
    router = await start_router(
        await start_worker(script=hangs),
        first_byte_timeout_s=60,
        first_byte_timeouts={"embeddings": 0.2},
        **SLOW_PROBES,
    )
    answer = await router.post({"model": "m", "input": "x"}, "/v1/embeddings")
    assert answer.status == 504


async def test_silence_within_an_answer(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """hung-backend: a stream that stops in the middle stays open for ever."""

    async def stalls(request: Request, wire: Wire) -> None:
        await wire.stream(sse(delta(), done=False), end=False)
        await wire.hang()

    worker = await start_worker(script=stalls)
    router = await start_router(worker, idle_timeout_s=0.2, **SLOW_PROBES)
    answer = await router.post(chat(stream=True))
    assert answer.complete
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    await eventually(worker.requests[0].wire.closed.is_set, CLOSED_WITHIN_S)


async def test_worker_that_falls_silent_altogether(
    start_worker: StartWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hung-backend: a worker that answers no probe either loses its requests long before they are too late."""
    monkeypatch.setattr("router.upstream.limits.ABANDONED_S", 0.3)
    hole, well = await _pair(start_worker)
    router = await start_router(
        hole, well, policy="round_robin", health_interval_s=0.05, health_timeout_s=0.1
    )
    hole.routes["/health"] = hangs
    answers = await asyncio.gather(*(router.post(chat(str(n))) for n in range(6)))
    assert [answer.status for answer in answers] == [200] * 6
    assert len(well.requests) == 6


async def test_worker_that_does_not_let_anybody_in(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """hung-backend: a host that does not even accept connections is given up after the limit for that."""
    gone, well = await start_worker(), await start_worker(script=answers(value={"ok": 1}))
    router = await start_router(
        gone, well, policy="round_robin", connect_timeout_s=0.2, worker_idle_s=0.1, **SLOW_PROBES
    )
    await gone.stop()
    with closing(socket.socket()) as listener, ExitStack() as waiting:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", gone.port))
        listener.listen(0)
        for _ in range(3):  # they fill the queue of those that wait to be accepted
            client = waiting.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        for n in range(4):
            assert (await router.post(chat(str(n)))).json() == {"ok": 1}
    assert await scraped(router, "router_retries_total", reason="worker_unreachable") >= 1


# -- keep-alive comments -----------------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("others", [True, False])
async def test_keep_alive_does_not_hide_a_silent_worker(
    early: bool, others: bool, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """sse-keepalive-masks-errors: bytes that keep a client waiting end every hope of another worker or an error."""
    hole, well = await _pair(start_worker)

    async def serves(request: Request, wire: Wire) -> None:
        await wire.stream(sse(delta("served")))

    well.script = serves
    fleet = [hole, well] if others else [hole]
    router = await start_router(
        *fleet,
        policy="round_robin",
        first_byte_timeout_s=0.5,
        sse_keep_alive_s=0.1,
        sse_keep_alive_early=early,
        **SLOW_PROBES,
    )
    for _ in fleet:
        answer = await router.post(chat(stream=True))
        if others:
            _served(answer)
        elif early:
            assert answer.status in {200, 504}
            assert b'"error"' in answer.body
            assert b"[DONE]" not in answer.body
        else:
            assert answer.status == 504
    assert hole.requests


def _served(answer: Response) -> None:
    assert answer.status == 200
    assert b"served" in answer.body
    assert answer.body.endswith(b"[DONE]\n\n")
    assert b'"error"' not in answer.body


async def test_keep_alive_keeps_a_worker_s_refusal(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """sse-keepalive-masks-errors: the status that a worker gives must not be lost behind comments."""
    worker = await start_worker(script=answers(400, {"error": {"code": 400}}, after_s=0.4))
    router = await start_router(worker, **SLOW_PROBES)
    answer = await router.post(chat(stream=True), headers=[("x-router-keep-alive", "0.1")])
    assert (answer.status, answer.json()) == (400, {"error": {"code": 400}})
