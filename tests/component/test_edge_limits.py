"""What one client can make the router hold: heads, trailers, bodies in the pipe, stalled uploads, offers."""

import asyncio
import json
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest

from router.edge.asgi import Message
from router.edge.http1 import MAX_HEAD_BYTES
from router.edge.http_exchange import HttpExchange
from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, CLOSED_WITHIN_S, RunningRouter, chat, eventually
from tests.fakes.client import Client, chunked, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

JSON = json.dumps(chat()).encode()
PIECE = b"x" * 8192
TARGETS = [CHAT, "/health"]


async def _hang(request: Request, wire: Wire) -> None:
    await wire.hang()


async def _flood(client: Client, data: bytes = PIECE, pieces: int = 4000) -> int:
    """Send until the router is fed up; the bytes that went out."""
    sent = 0
    try:
        for _ in range(pieces):
            await client.send(data)
            sent += len(data)
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return sent


async def _refused(client: Client, flood: bytes = PIECE) -> None:
    sending = asyncio.get_running_loop().create_task(_flood(client, flood))
    response = await client.response()
    assert response.status == 431
    assert response.json()["error"]["code"] == "request_headers_too_large"
    assert response.header("connection") == "close"
    assert await client.at_end() == b""
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


# -- heads -------------------------------------------------------------------------------------

ENDLESS = {
    "target": (b"GET %b?", PIECE),
    "field name": (b"GET %b HTTP/1.1\r\nHost: h\r\nX-", PIECE),
    "field value": (b"GET %b HTTP/1.1\r\nHost: h\r\nX-A: ", PIECE),
    "fields": (b"GET %b HTTP/1.1\r\nHost: h\r\n", b"x-a: b\r\n" * 1000),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("part", ENDLESS)
async def test_endless_head(
    part: str, target: str, worker: FakeWorker, router: RunningRouter
) -> None:
    start, flood = ENDLESS[part]
    async with router.connect() as client:
        await client.send(start % target.encode())
        await _refused(client, flood)
    assert worker.requests == []


@pytest.mark.parametrize("target", TARGETS)
async def test_head_at_the_limit(target: str, router: RunningRouter) -> None:
    """In one write or in many, again and again on one connection; then one byte more."""

    def sized(over: int) -> bytes:
        counted = len(target) + len("hostrouter") + len("x-a") + 8 + over
        return request("GET", target, headers=[("X-A", "v" * (MAX_HEAD_BYTES - counted))])

    fits, too_large = sized(0), sized(-1)
    async with router.connect() as client:
        for size in (len(fits), 1000, len(fits)):
            for start in range(0, len(fits), size):
                await client.send(fits[start : start + size])
                await asyncio.sleep(0.0005)
            assert (await client.response()).status == 200
        await client.send(too_large)
        assert (await client.response()).status == 431
        assert await client.at_end() == b""


async def test_large_head_behind_an_unfinished_answer(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Nothing is written into the answer that is running."""
    worker.script = _hang
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON))
        await worker.received_count(1)
        await client.send(b"GET /health HTTP/1.1\r\nX-A: ")
        await _flood(client)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.head()
    await asyncio.wait_for(worker.requests[0].wire.closed.wait(), CLOSED_WITHIN_S)


@pytest.mark.parametrize("target", TARGETS)
async def test_refused_client_is_not_held(target: str, router: RunningRouter) -> None:
    """It is read on for a while, to have its answer, and then no more."""
    async with router.connect() as client:
        await client.send(f"GET {target} HTTP/1.1\r\nX-A: ".encode())
        await _flood(client, pieces=20)
        assert (await client.response()).status == 431
        await eventually(lambda: not router.server.server_state.connections)


# -- what follows a body -----------------------------------------------------------------------


async def test_trailers_are_not_fields(worker: FakeWorker, router: RunningRouter) -> None:
    trailers = [(f"X-T{n}", "v" * 50) for n in range(100)]
    body = chunked(JSON, trailers=trailers)
    async with router.connect() as client:
        for target in (CHAT, "/ping", CHAT):
            framed = [("Transfer-Encoding", "chunked")]
            await client.send(request("POST", target, body, framed))
            assert (await client.response()).status == 200
    assert all(sent.all("x-t1") == [] for sent in worker.requests)


@pytest.mark.parametrize("flood", [PIECE, b"X-A: b\r\n" * 1000], ids=["one", "many"])
async def test_endless_trailers(flood: bytes, worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        framed = [("Transfer-Encoding", "chunked")]
        start = chunked(JSON)[:-2]
        await client.send(request("POST", CHAT, start + b"X-T: ", framed))
        await asyncio.sleep(0.02)
        await _refused(client, flood)
    assert worker.requests == []


async def test_chunks_of_any_size_are_no_trailers(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Their sizes and ends, sent apart, add up to more than the limit."""
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", [("Transfer-Encoding", "chunked")]))
        for _ in range(150):
            await client.send(b"1;" + b"e" * 1000 + b"\r\n")
            await asyncio.sleep(0.001)
            await client.send(b"x\r\n")
            await asyncio.sleep(0.001)
        await client.send(b"0\r\n\r\n")
        assert (await client.response()).json()["body"] == "x" * 150


# -- bodies in the pipe ------------------------------------------------------------------------


def _waiting(router: RunningRouter) -> int:
    """Bytes of bodies behind the requests that are being answered."""
    return sum(
        cycle.body_bytes if isinstance(cycle, HttpExchange) else len(cycle.body)
        for connection in router.server.server_state.connections
        for cycle, _ in connection.pipeline  # type: ignore[union-attr]
    )


@pytest.mark.parametrize("target", [CHAT, "/ping"])
async def test_pipelined_bodies_wait_outside(
    target: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """They are taken in as their turn comes, and all are answered."""
    release = asyncio.Event()

    async def script(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({"size": len(request.body)})

    worker.script = script
    big = b"x" * 3_000_000
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON))
        await worker.received_count(1)
        sending = asyncio.get_running_loop().create_task(
            client.send(request("POST", target, big) * 6)
        )
        await eventually(lambda: _waiting(router) > 500_000)
        await asyncio.sleep(0.2)
        assert _waiting(router) < 2_000_000
        assert not sending.done()
        release.set()
        assert (await client.response()).status == 200
        for _ in range(6):
            response = await client.response()
            assert response.status == 200
            assert target != CHAT or response.json() == {"size": len(big)}
        await sending
        assert (await client.call(CHAT, chat())).status == 200
        (connection,) = router.server.server_state.connections
        assert connection._waiting_bytes == 0  # type: ignore[union-attr]


async def test_many_bodies_in_one_write(worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        await client.send(b"".join(request("POST", CHAT, b"%d" % n * 30_000) for n in range(90)))
        for n in range(90):
            assert (await client.response()).json()["body"] == f"{n}" * 30_000


async def test_leaving_is_noticed_while_little_waits(
    worker: FakeWorker, router: RunningRouter
) -> None:
    worker.script = _hang
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"x" * 200_000) * 4)
        await worker.received_count(1)
        await asyncio.sleep(0.05)
        await client.leave()
        await asyncio.wait_for(worker.requests[0].wire.closed.wait(), CLOSED_WITHIN_S)
    await eventually(lambda: router.inflight == 0)


# -- stalled uploads ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", [CHAT, "/v1/chat/completions#served-by-asgi"])
async def test_stalled_upload_ends(
    target: str, worker: FakeWorker, start_router: StartRouter
) -> None:
    """Not while something comes, however slowly."""
    router = await start_router(worker, keep_alive_s=1)
    async with router.connect() as client:
        await client.send(request("POST", target, b"", [("Content-Length", "1000")]))
        for _ in range(7):
            await client.send(b"x")
            await asyncio.sleep(0.3)
        assert router.server.server_state.connections
        stalled = perf_counter()
        await _too_slow(client)
        assert 0.5 < perf_counter() - stalled < 3
    assert worker.requests == []
    await eventually(lambda: not router.server.server_state.tasks)


async def test_stalled_upload_behind_a_running_answer(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """The answer is not cut; the time of the upload begins at its end."""

    async def long(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n"] * 8, delay_s=0.3)

    worker.script = long
    router = await start_router(worker, keep_alive_s=1)
    async with router.connect() as client:
        half = request("POST", CHAT, b"{", [("Content-Length", "1000")])
        await client.send(request("POST", CHAT, JSON) + half)
        assert (await client.response()).complete
        await _too_slow(client)
    assert len(worker.requests) == 1


async def _too_slow(client: Client) -> None:
    response = await client.response()
    assert (response.status, response.header("connection")) == (408, "close")
    assert response.json()["error"]["code"] == "request_timeout"
    assert await client.at_end() == b""


@pytest.mark.parametrize(
    "start",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nX-Slow: ",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n",
        b"POST /explain HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["head", "body", "body of our own"],
)
async def test_request_that_trickles_in(
    start: bytes, worker: FakeWorker, start_router: StartRouter
) -> None:
    """It never stalls, and has to be there in time all the same; the second on a connection too."""
    router = await start_router(worker, receive_timeout_s=1)
    async with router.connect() as client:
        assert (await client.call(CHAT, chat())).status == 200
        await client.send(start)
        trickling = asyncio.get_running_loop().create_task(_trickle(client))
        await _too_slow(client)
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert len(worker.requests) == 1
    await eventually(lambda: not router.server.server_state.connections)
    assert router.app.services.bodies.held == 0


async def _trickle(client: Client) -> None:
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.05)


async def test_time_of_a_request_is_its_own(worker: FakeWorker, start_router: StartRouter) -> None:
    """Neither a long answer before it nor its own counts."""

    async def long(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n"] * 6, delay_s=0.3)

    worker.script = long
    router = await start_router(worker, receive_timeout_s=1)
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON) + request("POST", CHAT, JSON)[:-1])
        assert (await client.response()).complete
        await client.send(JSON[-1:])
        assert (await client.response()).complete


async def test_silent_connection_ends(start_router: StartRouter, worker: FakeWorker) -> None:
    router = await start_router(worker, keep_alive_s=0.5)
    async with router.connect() as client:
        assert await client.at_end() == b""


# -- clients that do not read ------------------------------------------------------------------


async def test_client_that_does_not_read_is_cut(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """Not one for whom there is always more, as much each time."""

    async def flood(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        while True:
            await wire.chunk(b"x" * 100_000)

    worker.script = flood
    router = await start_router(worker, client_stall_timeout_s=1)
    async with router.connect(receive_buffer=262_144) as client:
        await client.post(CHAT, chat(stream=True))
        for _ in range(30):
            await client.reader.readexactly(500_000)
            await asyncio.sleep(0.1)
        assert router.inflight == 1
        await eventually(lambda: router.inflight == 0, 8.0)
    await asyncio.wait_for(worker.requests[0].wire.closed.wait(), CLOSED_WITHIN_S)
    assert not router.server.server_state.connections


async def test_answer_that_is_never_fetched_is_not_held_for_ever(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """It is complete, and the connection would be closed if only the rest of it were read."""

    async def large(request: Request, wire: Wire) -> None:
        await wire.reply(200, [], b"x" * 20_000_000)

    worker.script = large
    router = await start_router(worker, client_stall_timeout_s=1, keep_alive_s=0.5)
    async with router.connect(receive_buffer=4096) as client:
        await client.post(CHAT, chat())
        await worker.received_count(1)
        await eventually(lambda: not router.server.server_state.connections, 8.0)


async def test_answers_to_a_client_that_reads_none_do_not_pile_up(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Refusals take no worker and no time; what is sent on regardless waits in the client."""
    quick = request("POST", CHAT, b'{"model":"no"}') * 100
    async with router.connect(receive_buffer=4096) as client:
        sending = asyncio.get_running_loop().create_task(_flood(client, quick, 3000))
        await eventually(lambda: router.buffered > 65_536, 20.0)
        highest = 0
        for _ in range(50):
            highest = max(highest, router.buffered)
            await asyncio.sleep(0.01)
        assert highest < 500_000
        assert not sending.done()
        got = 0
        while got < 2_000_000:
            got += len(await client.reader.read(65_536))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


# -- all clients together ----------------------------------------------------------------------


async def test_connections_over_the_limit(worker: FakeWorker, start_router: StartRouter) -> None:
    """They are told so; those within it are served on."""
    router = await start_router(worker, max_connections=3)
    async with router.connect() as one, router.connect() as two, router.connect():
        assert (await one.call(CHAT, chat())).status == 200
        await eventually(lambda: len(router.server.server_state.connections) == 3)
        async with router.connect() as client:
            await client.post(CHAT, chat())
            response = await client.response()
            assert (response.status, response.header("connection")) == (503, "close")
            assert response.header("retry-after") == "1"
            assert response.json()["error"]["code"] == "too_many_connections"
            assert await client.at_end() == b""
        assert (await two.call(CHAT, chat())).status == 200
    await eventually(lambda: not router.server.server_state.connections)
    assert (await router.post(chat())).status == 200
    assert router.total("router_rejected_total", reason="too_many_connections") == 1


async def test_many_connections_over_the_limit(
    worker: FakeWorker, start_router: StartRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are told are kept for a moment; when these are many, the others are not told."""
    monkeypatch.setattr("router.edge.watched._TURNED_AWAY", 2)
    router = await start_router(worker, max_connections=1)
    async with router.connect() as one, router.connect(), router.connect():
        await eventually(lambda: len(router.server.server_state.connections) == 3)
        async with router.connect() as client:
            with suppress(ConnectionError):
                assert await client.at_end() == b""
        assert (await one.call(CHAT, chat())).status == 200


@pytest.mark.parametrize("framing", ["announced", "chunked"])
async def test_bodies_of_all_together(
    framing: str, worker: FakeWorker, start_router: StartRouter
) -> None:
    """Those under way count, not only those that come in; what is beyond is not read."""
    worker.script = _hang
    router = await start_router(worker, body_limit=1_000_000, body_memory_limit=1_500_000)
    bodies = router.app.services.bodies
    async with router.connect() as first, router.connect() as second:
        await first.post(CHAT, chat("x" * 900_000))
        await worker.received_count(1)
        assert 900_000 < bodies.held < 901_000
        length, chunks = ("Content-Length", "900000"), ("Transfer-Encoding", "chunked")
        frame = length if framing == "announced" else chunks
        await second.send(request("POST", CHAT, b"", [frame]))
        sending = asyncio.get_running_loop().create_task(
            _flood(second, b"2000\r\n" + PIECE + b"\r\n", 110)
        )
        response = await second.response()
        assert (response.status, response.header("retry-after")) == (503, "1")
        assert response.json()["error"]["code"] == "router_out_of_memory"
        assert await second.at_end() == b""
        await asyncio.gather(sending, return_exceptions=True)
        assert bodies.held < 901_000
    await eventually(lambda: bodies.held == 0)
    assert router.total("router_rejected_total", reason="router_out_of_memory") == 1


async def test_bodies_are_let_go_of_however_requests_end(
    worker: FakeWorker, router: RunningRouter
) -> None:
    bodies = router.app.services.bodies
    big = chat("x" * 100_000)
    async with router.connect() as client:
        for _ in range(3):
            assert (await client.call(CHAT, big)).status == 200
            await eventually(lambda: bodies.held == 0)
        assert (await client.call(CHAT, big | {"model": "no"})).status == 404
        assert bodies.held == 0
        worker.script = _hang
        await client.send(request("POST", CHAT, json.dumps(big).encode()) * 3)
        await worker.received_count(4)
        assert bodies.held > 100_000
        await client.leave()
    await eventually(lambda: bodies.held == 0)
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON, [("Content-Length", "1000000")]))
        await eventually(lambda: bodies.held > 0)
        await client.leave()
    await eventually(lambda: bodies.held == 0)


async def test_silent_worker_is_waited_for(worker: FakeWorker, start_router: StartRouter) -> None:
    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(2.0)
        await wire.json({})

    worker.script = slow
    router = await start_router(worker, keep_alive_s=1)
    assert (await router.post(chat())).status == 200


# -- offers to speak something else ------------------------------------------------------------

OFFER = [("Connection", "Upgrade"), ("Upgrade", "h2c")]


async def test_many_offers_in_one_write(worker: FakeWorker, router: RunningRouter) -> None:
    """They do not become a deep stack."""
    one = request("POST", CHAT, b'{"model":"no"}', OFFER)
    async with router.connect() as client:
        await client.send(one * 1500)
        for _ in range(1500):
            assert (await client.response()).status == 404


async def test_offer_keeps_the_rest_of_the_head(worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        both = [("Connection", "close, Upgrade, X-Mine"), ("Upgrade", "h2c"), ("X-Mine", "1")]
        await client.send(request("POST", CHAT, JSON, both))
        response = await client.response()
        assert (response.status, response.header("connection")) == (200, "close")
        assert await client.at_end() == b""
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON, OFFER, version="1.0"))
        response = await client.response()
        assert response.json()["body"] == JSON.decode()
        assert await client.at_end() == b""
    assert [worker.requests[0].all(name) for name in ("x-mine", "upgrade")] == [[], []]


async def test_tunnel_is_refused(worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        await client.send(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
        assert (await client.response()).status == 400
        assert await client.at_end() == b""


# -- another server around the ASGI twin -------------------------------------------------------

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": CHAT,
    "raw_path": CHAT.encode(),
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}


class Caller:
    """A server whose `send` fails after so many messages."""

    def __init__(self, messages: int) -> None:
        self.sent: list[Message] = []
        self._messages = messages
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": json.dumps(chat(stream=True)).encode()}

    async def send(self, message: Message) -> None:
        if len(self.sent) >= self._messages:
            raise OSError("the client is not there")
        self.sent.append(message)


async def _events(request: Request, wire: Wire) -> None:
    await wire.start(200, [("Content-Type", "text/event-stream")])
    for event in sse(*({"n": n} for n in range(100_000))):
        await wire.chunk(event)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("messages", [0, 1, 4])
async def test_send_that_fails(messages: int, worker: FakeWorker, router: RunningRouter) -> None:
    worker.script = _events
    caller = Caller(messages)
    with pytest.raises((OSError, ExceptionGroup)):
        await asyncio.wait_for(router.app.asgi(dict(SCOPE), caller.receive, caller.send), 5.0)
    assert len(caller.sent) == messages
    await _ended(worker, router)


@pytest.mark.parametrize("script", [_events, _hang])
async def test_cancelled_call(script: Any, worker: FakeWorker, router: RunningRouter) -> None:
    worker.script = script
    caller = Caller(1000)
    call = router.app.asgi(dict(SCOPE), caller.receive, caller.send)
    task = asyncio.ensure_future(call)
    await worker.received_count(1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _ended(worker, router)


async def _ended(worker: FakeWorker, router: RunningRouter) -> None:
    await asyncio.wait_for(worker.requests[0].wire.closed.wait(), CLOSED_WITHIN_S)
    assert router.inflight == 0
    assert (await router.line())["outcome"] == "cancelled"
