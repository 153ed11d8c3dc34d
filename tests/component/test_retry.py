"""Another try while the client has nothing and it is safe; every other failure is told to the client as what it is."""

import asyncio
import json
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, sse


def answers(status: int, value: Any = None) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.json({"error": {"code": status}} if value is None else value, status=status)

    return script


async def _reset(request: Request, wire: Wire) -> None:
    wire.reset()


async def _close(request: Request, wire: Wire) -> None:
    wire.close()


def breaks_off(*pieces: bytes, headers: list[tuple[str, str]] | None = None) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(pieces, headers=headers or (), end=False)
        await asyncio.sleep(0.02)
        wire.reset()

    return script


async def _pair(start_worker: StartWorker, start_router: StartRouter) -> tuple[Any, Any, Any]:
    first, second = await start_worker(), await start_worker()
    router = await start_router(first, second, policy="round_robin", health_interval_s=30)
    return first, second, router


# -- safe to try again -------------------------------------------------------------------------


async def test_unreachable_worker(start_worker: StartWorker, start_router: StartRouter) -> None:
    """The next worker serves at once; the dead one is down and gets nothing until it is back."""
    first, second, router = await _pair(start_worker, start_router)
    await first.stop()
    for _ in range(6):
        assert (await router.post(chat())).status == 200
    assert len(second.requests) == 6
    assert [worker.up for worker in router.workers if worker.id == first.id] == [False]
    assert sum(line["attempts"] for line in router.lines()) == 7
    assert router.total("router_retries_total", reason="worker_unreachable") == 1


async def test_worker_that_holds_the_prefix_is_dead(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A cache score must not outweigh that the worker is gone."""
    workers = [await start_worker(), await start_worker()]
    router = await start_router(*workers, health_interval_s=30)
    body = chat("long " * 3000)
    holder_id = (await router.post(body)).header("x-router-worker")
    assert (await router.post(body)).header("x-router-worker") == holder_id
    (holder,) = [w for w in workers if w.id == holder_id]
    await holder.stop()
    for _ in range(3):
        response = await router.post(body)
        assert response.status == 200
        assert response.header("x-router-worker") != holder_id


async def test_nobody_reachable(worker: FakeWorker, router: RunningRouter) -> None:
    await worker.stop()
    response = await router.post(chat())
    assert response.status == 502
    assert response.json()["error"]["code"] == "worker_unreachable"
    line = await router.line()
    assert (line["outcome"], line["status"]) == ("upstream_error", 502)


@pytest.mark.parametrize("end", [_reset, _close], ids=["reset", "close"])
async def test_kept_alive_connection_closed_under_a_request(
    end: Script, worker: FakeWorker, router: RunningRouter
) -> None:
    """The worker's keep-alive ends as the next request goes out: a new connection, and nobody notices."""
    await router.post(chat())
    seen = worker.requests[0].wire

    async def once(request: Request, wire: Wire) -> None:
        await (end if wire is seen else answers(200, {"ok": True}))(request, wire)

    worker.script = once
    while seen in worker.wires:
        response = await router.post(chat())
        assert (response.status, response.json()) == (200, {"ok": True})
    assert router.total("router_retries_total", reason="stale_connection") == 1
    assert router.lines()[-1]["attempts"] == 2
    assert all(w.up for w in router.workers)


async def test_reconnect_stays_with_the_worker(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """A stale connection says nothing against the worker that was chosen: the new one goes to the same."""
    first, second, router = await _pair(start_worker, start_router)
    for _ in range(2):
        await router.post(chat())
    stale = {first.requests[0].wire, second.requests[0].wire}

    async def once(request: Request, wire: Wire) -> None:
        await (_reset if wire in stale else answers(200, {}))(request, wire)

    first.script = second.script = once
    for expected in (first, second):
        before = len(expected.requests)
        response = await router.post(chat())
        assert response.header("x-router-worker") == expected.id
        assert len(expected.requests) >= before + 1


async def test_worker_with_a_short_keep_alive(worker: FakeWorker, router: RunningRouter) -> None:
    """Idle connections that close just as the next request is written must cost no request."""

    async def closes_soon(request: Request, wire: Wire) -> None:
        await wire.json({})
        asyncio.get_running_loop().call_later(0.02, wire.close)

    worker.script = closes_soon
    async with router.connect() as client:
        for _ in range(50):
            assert (await client.call(CHAT, chat())).status == 200
            await asyncio.sleep(0.0197)


@pytest.mark.parametrize("status", [429, 503])
async def test_refusal_goes_to_the_next_worker(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    first, second, router = await _pair(start_worker, start_router)
    first.script = answers(status)
    for _ in range(4):
        response = await router.post(chat(stream=True))
        assert response.status == 200
        assert response.header("x-router-worker") == second.id
    refused = router.total("router_retries_total", reason="refused")
    assert refused >= 2 if status == 503 else refused == 1, "with too many it is left alone"
    assert all(w.up for w in router.workers)


@pytest.mark.parametrize("status", [429, 503])
async def test_refusal_of_all_is_passed_on(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """With its body and Retry-After: that is what the client's backoff reads."""
    first, second, router = await _pair(start_worker, start_router)

    async def busy(request: Request, wire: Wire) -> None:
        await wire.json({"error": {"message": "busy"}}, status, [("Retry-After", "7")])

    first.script = second.script = busy
    response = await router.post(chat())
    assert (response.status, response.json()) == (status, {"error": {"message": "busy"}})
    assert response.header("retry-after") == "7"
    assert (len(first.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_only_worker_is_never_taken_out(
    status: int, worker: FakeWorker, router: RunningRouter
) -> None:
    """Cooling down the only worker after failures would turn one failure into an outage."""
    worker.script = answers(status)
    for _ in range(5):
        assert (await router.post(chat())).status == status
    worker.script = answers(200, {})
    assert (await router.post(chat())).status == 200
    assert len(worker.requests) == 6


async def test_refusal_that_breaks_off_goes_to_the_next_worker(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Its head says that nothing was started; what happens to its body does not matter."""
    first, second, router = await _pair(start_worker, start_router)

    async def cut(request: Request, wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf")
        wire.close()

    first.script = cut
    for _ in range(3):
        assert (await router.post(chat())).header("x-router-worker") == second.id


@pytest.mark.parametrize("end", [_reset, _close], ids=["reset", "close"])
async def test_lost_before_any_byte(
    end: Script, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Its connection is closed, which ended its work: another worker may do it instead."""
    first, second, router = await _pair(start_worker, start_router)
    first.script = end
    for _ in range(4):
        response = await router.post(chat())
        assert (response.status, response.header("x-router-worker")) == (200, second.id)
    assert router.total("router_retries_total", reason="worker_lost") >= 1
    assert all(w.up for w in router.workers)


async def test_lost_behind_the_head_of_a_stream(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """The client has nothing of it yet."""
    first, second, router = await _pair(start_worker, start_router)

    async def dies(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream"), ("X-Own", "1")])
        await asyncio.sleep(0.02)
        wire.reset()

    async def lives(request: Request, wire: Wire) -> None:
        await wire.stream(sse({"n": 1}))

    first.script, second.script = dies, lives
    for _ in range(2):
        response = await router.post(chat(stream=True))
        assert (response.status, response.header("x-router-worker")) == (200, second.id)
        assert response.header("x-own") is None
        assert response.body == b"".join(sse({"n": 1}))


async def test_engine_that_died_behind_its_server(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """vLLM says so in the first event, or as a 500: nothing of it reaches the client while somebody else lives."""
    first, second, router = await _pair(start_worker, start_router)
    said = {"error": {"message": "EngineCore encountered an issue.", "code": 500}}

    async def dead(request: Request, wire: Wire) -> None:
        if b"stream" in request.body:
            await wire.stream(sse(said))
        else:
            await wire.json(said, 500)

    async def lives(request: Request, wire: Wire) -> None:
        await (wire.stream(sse({})) if b"stream" in request.body else wire.json({}))

    first.script, second.script = dead, lives
    fields: list[dict[str, Any]] = [{}, {"stream": True}]
    for stream in fields:
        for _ in range(2):
            response = await router.post(chat(**stream))
            assert (response.status, response.header("x-router-worker")) == (200, second.id)
            assert b"EngineCore" not in response.body


async def test_worker_that_drains(start_worker: StartWorker, start_router: StartRouter) -> None:
    """It answers 500 to all that is new; that is a refusal, and the last one it gets."""
    first, second, router = await _pair(start_worker, start_router)
    said = {"error": {"message": "cannot schedule new futures after shutdown", "code": 500}}
    first.script = first.probed["/detokenize"] = answers(500, said)
    for _ in range(6):
        assert (await router.post(chat())).header("x-router-worker") == second.id
    assert len(first.requests) == 1
    states = {w["id"]: w["state"] for w in (await router.get("/workers")).json()["workers"]}
    assert states == {first.id: "draining", second.id: "up"}


async def test_retry_after_is_heeded(start_worker: StartWorker, start_router: StartRouter) -> None:
    first, second, router = await _pair(start_worker, start_router)

    async def busy(request: Request, wire: Wire) -> None:
        await wire.json({}, 429, [("Retry-After", "30")])

    first.script = busy
    for _ in range(6):
        assert (await router.post(chat())).header("x-router-worker") == second.id
    assert len(first.requests) == 1


async def test_one_that_always_has_too_many_draws_no_others(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Who refuses at once has nothing under way: by its load it would be the best."""

    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.02)
        await wire.json({})

    busy, well = await start_worker(script=answers(429)), await start_worker(script=slow)
    router = await start_router(busy, well, policy="least_load")

    async def client() -> list[int]:
        return [(await router.post(chat())).status for _ in range(10)]

    answered = await asyncio.gather(*(client() for _ in range(5)))
    assert answered == [[200] * 10] * 5
    assert len(busy.requests) <= 10


# -- not safe ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [_reset, _close], ids=["reset", "close"])
async def test_lost_where_the_answer_is_stored(
    end: Script, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """The worker may have started: a second try could be stored twice."""
    first, second, router = await _pair(start_worker, start_router)
    for worker in router.workers:
        worker.pool.drop_idle()
    first.script = second.script = end
    response = await router.post({"model": "m", "input": "hi"}, "/v1/responses")
    assert response.status == 502
    assert response.json()["error"]["code"] == "worker_connection_lost"
    assert len(first.requests) + len(second.requests) == 1


async def test_lost_after_some_events(start_worker: StartWorker, start_router: StartRouter) -> None:
    """Retrying here used to generate twice and to mix the tokens of both."""
    first, second, router = await _pair(start_worker, start_router)
    events = sse({"n": 1}, {"n": 2}, done=False)
    first.script = second.script = breaks_off(*events)
    response = await router.post(chat(stream=True))
    assert response.status == 200
    assert response.complete
    assert response.body.startswith(b"".join(events))
    assert len(first.requests) + len(second.requests) == 1
    line = await router.line()
    assert (line["outcome"], line["status"]) == ("upstream_error", 200)


async def test_lost_inside_an_event(worker: FakeWorker, router: RunningRouter) -> None:
    """The error begins a new event: it must not become part of the broken one."""
    worker.script = breaks_off(b'data: {"n": 1}\n\ndata: {"half')
    body = (await router.post(chat(stream=True))).body
    last = body.rstrip(b"\n").rpartition(b"\n\n")[2]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "worker_connection_lost"


STREAM_ERRORS = {
    CHAT: b"data: ",
    "/v1/completions": b"data: ",
    "/v1/messages": b"event: error\ndata: ",
    "/v1/responses": b"event: error\ndata: ",
}


@pytest.mark.parametrize("target", STREAM_ERRORS)
async def test_stream_error_in_the_client_s_words(
    target: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """An error event of the API's family ends the stream; a made-up `[DONE]` would call it whole."""
    worker.script = breaks_off(b"data: {}\n\n")
    body = (await router.post({"model": "m", "stream": True}, target)).body
    event = body.removeprefix(b"data: {}\n\n").strip(b"\n")
    assert event.startswith(STREAM_ERRORS[target])
    value = json.loads(event.removeprefix(STREAM_ERRORS[target]))
    if target == "/v1/messages":
        assert (value["type"], value["error"]["type"]) == ("error", "api_error")
    elif target == "/v1/responses":
        assert (value["type"], value["code"]) == ("error", "worker_connection_lost")
    else:
        assert value["error"]["type"] == "server_error"
    assert b"[DONE]" not in body


@pytest.mark.parametrize("target", STREAM_ERRORS)
@pytest.mark.parametrize("stream", [True, False])
async def test_error_body_in_the_client_s_words(
    target: str, stream: bool, worker: FakeWorker, router: RunningRouter
) -> None:
    worker.script = _reset
    for connection in router.workers:
        connection.pool.drop_idle()
    response = await router.post({"model": "m", "stream": stream}, target)
    assert response.status == 502
    assert response.header("content-type") == "application/json"
    value = response.json()
    if target == "/v1/messages":
        assert (value["type"], value["error"]["type"]) == ("error", "api_error")
    else:
        assert value["error"]["code"] == "worker_connection_lost"
    assert value["error"]["message"]


async def test_body_cut_off(worker: FakeWorker, router: RunningRouter) -> None:
    """A JSON answer that broke off must not look whole."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        wire.close()

    worker.script = script
    assert not (await router.post(chat())).complete
    assert (await router.line())["outcome"] == "upstream_error"


async def test_chunked_body_cut_off(worker: FakeWorker, router: RunningRouter) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "application/json")])
        await wire.chunk(b"{")
        wire.close()

    worker.script = script
    assert not (await router.post(chat())).complete


async def test_event_stream_with_a_length_cut_off(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """An error event would run over the length that was promised."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 40\r\n\r\ndata: 1\n\n"
        )
        await asyncio.sleep(0.02)
        wire.reset()

    worker.script = script
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        rest = await client.at_end()
        assert response.header("content-length") == "40"
        assert rest == b"data: 1\n\n"


async def test_compressed_event_stream_cut_off(worker: FakeWorker, router: RunningRouter) -> None:
    """Plain text inside a compressed stream is rubbish to the client: the answer is cut off instead."""
    worker.script = breaks_off(b"\x1f\x8b\x08", headers=[("Content-Encoding", "gzip")])
    response = await router.post(chat(stream=True))
    assert not response.complete
    assert response.body == b"\x1f\x8b\x08"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_answer_that_is_not_http(
    rubbish: bytes, worker: FakeWorker, router: RunningRouter
) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.raw(rubbish)
        await wire.hang()

    worker.script = script
    response = await router.post(chat())
    assert response.status == 502
    assert response.json()["error"]["code"] == "worker_bad_response"
    await eventually(worker.requests[0].wire.closed.is_set)


async def test_chunks_that_are_not_http(worker: FakeWorker, router: RunningRouter) -> None:
    """The framing breaks in the middle of a stream."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n"], end=False)
        await asyncio.sleep(0.02)
        await wire.raw(b"zz\r\nnot a chunk")
        await wire.hang()

    worker.script = script
    response = await router.post(chat(stream=True))
    assert b"worker_bad_response" in response.body


@pytest.mark.parametrize(
    "fields", [b"Content-Type: application/json\r\n", b"Content-Type: text/plain\r\n"]
)
async def test_chunks_that_are_not_http_behind_a_head_that_came_with_them(
    fields: bytes, worker: FakeWorker, router: RunningRouter
) -> None:
    """Nothing of it has been sent to the client, who can be told what is wrong."""

    async def script(request: Request, wire: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n"
        await wire.raw(head + b"2\r\n{}\r\nzz\r\nnot a chunk")
        await wire.hang()

    worker.script = script
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat())
            assert response.status == 502
            assert response.json()["error"]["code"] == "worker_bad_response"
    assert [line["status"] for line in router.lines()] == [502, 502]


# -- the worker's own errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 405, 413, 422, 429, 500, 501, 502, 503, 504]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_worker_s_error_passes(
    status: int, stream: bool, worker: FakeWorker, router: RunningRouter
) -> None:
    """Errors of stream requests used to be sent with status 200, or with the length of another body."""
    body = b'{"error": {"message": "na\xc3\xafve",  "code": null}}'

    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(status, [("Content-Type", "application/json"), ("X-Own", "1")], body)

    worker.script = script
    response = await router.post(chat(stream=stream))
    assert (response.status, response.body) == (status, body)
    assert response.header("content-length") == str(len(body))
    assert response.header("content-type") == "application/json"
    assert response.header("x-own") == "1"
    expected = "client_error" if status < 500 else "upstream_error"
    assert (await router.line())["outcome"] == expected


async def test_a_request_that_kills_its_worker_is_not_passed_round(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """After three workers it may be what broke them."""
    workers = [await start_worker() for _ in range(5)]
    router = await start_router(*workers, policy="round_robin")
    for _ in range(10):
        assert (
            await router.post(chat())
        ).status == 200  # every worker has a kept-alive connection now
    before = sum(len(worker.requests) for worker in workers)

    async def die(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.6)
        wire.close()

    for worker in workers:
        worker.script = die
    response = await router.post(chat("poison"))
    assert (response.status, response.json()["error"]["code"]) == (502, "worker_connection_lost")
    assert sum(len(worker.requests) for worker in workers) == before + 3
