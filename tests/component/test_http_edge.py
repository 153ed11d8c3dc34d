"""HTTP/1.1 as clients and workers really speak it, through both sides of the router."""

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.certificate import Certificate
from tests.fakes.client import Client, chunked, request
from tests.fakes.wire import Fields, Request, Wire
from tests.fakes.worker import FakeWorker

JSON = json.dumps(chat()).encode()


def raw_answer(*parts: bytes, close: bool = False) -> Any:
    """A script that writes bytes as they are."""

    async def script(request: Request, wire: Wire) -> None:
        for part in parts:
            await wire.raw(part)
        if close:
            wire.close()

    return script


# -- connections -------------------------------------------------------------------------------


async def test_keep_alive(worker: FakeWorker, router: RunningRouter) -> None:
    """One connection on each side serves many requests."""
    async with router.connect() as client:
        for n in range(20):
            response = await client.call(CHAT, chat(str(n)))
            assert response.status == 200
            assert response.header("connection") is None
    assert len({request.wire for request in worker.requests}) == 1


async def test_pipelining_keeps_the_order(worker: FakeWorker, router: RunningRouter) -> None:
    """Inference and admin requests in one write; the first is the slowest."""

    async def script(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.05 if b"first" in request.body else 0)
        await wire.json({"got": request.body.decode()})

    worker.script = script
    async with router.connect() as client:
        await client.send(
            request("POST", CHAT, b'"first"')
            + request("GET", "/v1/models")
            + request("POST", CHAT, b'"second"')
            + request("GET", "/health")
            + request("POST", CHAT, b'"third"')
            + request("GET", "/nope")
        )
        answers = [await client.response() for _ in range(6)]
    assert answers[0].json() == {"got": '"first"'}
    assert answers[1].json()["data"][0]["id"] == "m"
    assert answers[2].json() == {"got": '"second"'}
    assert (answers[3].status, answers[3].body) == (200, b"")
    assert answers[4].json() == {"got": '"third"'}
    assert answers[5].status == 404


async def test_many_quick_answers_behind_a_slow_one(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Answers that need no worker follow one another, however many wait."""

    async def slow(request: Request, wire: Wire) -> None:
        await asyncio.sleep(0.1)
        await wire.json({})

    worker.script = slow
    count = 2000
    quick = request("POST", CHAT, b'{"model":"no"}')
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON) + quick * count)
        assert (await client.response()).status == 200
        for _ in range(count):
            assert (await client.response()).status == 404
    assert router.workers[0].up


async def test_defect_of_ours(
    worker: FakeWorker,
    router: RunningRouter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Told to the client as what it is, and to the log; the connection goes on."""

    def fails(*arguments: object) -> object:
        raise ZeroDivisionError

    async with router.connect() as client:
        with monkeypatch.context() as patch:
            patch.setattr("router.gateway.Request", fails)
            response = await client.call(CHAT, chat())
            assert response.status == 500
            assert response.json()["error"]["code"] == "internal_error"
        assert "ZeroDivisionError" in caplog.text
        assert (await client.call(CHAT, chat())).status == 200


async def test_bytes_in_any_pieces(worker: FakeWorker, router: RunningRouter) -> None:
    """A request that comes byte by byte is the same request."""
    async with router.connect() as client:
        for byte in request("POST", CHAT, JSON):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).json()["body"] == JSON.decode()


async def test_connection_close(worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        response = await client.call(CHAT, chat(), [("Connection", "close")])
        assert response.header("connection") == "close"
        assert await client.at_end() == b""
    assert (await router.post(chat())).status == 200
    assert worker.accepted - len(worker.probes) <= 1, "the worker's connection was not kept"


async def test_idle_client_connection_ends(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, keep_alive_s=1)
    async with router.connect() as client:
        await client.call(CHAT, chat())
        assert await client.at_end() == b""


async def test_shutdown_lets_answers_end(worker: FakeWorker, router: RunningRouter) -> None:
    """A stream is whole and its connection closes behind it; idle connections close at once."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n"] * 5, delay_s=0.03)

    worker.script = script
    async with router.connect() as idle, router.connect() as busy, router.connect() as fresh:
        assert (await idle.call(CHAT, chat())).complete
        await busy.post(CHAT, chat(stream=True))
        await worker.received_count(2)
        await eventually(lambda: len(router.server.server_state.connections) == 3)
        for connection in list(router.server.server_state.connections):
            connection.shutdown()
        assert await idle.at_end() == b""
        assert await fresh.at_end() == b""
        assert (await busy.response()).complete
        assert await busy.at_end() == b""


async def test_keep_alive_time_is_idle_time(worker: FakeWorker, start_router: StartRouter) -> None:
    """It starts anew with every request, of either kind, and never ends a running answer."""
    router = await start_router(worker, keep_alive_s=1)

    async def long(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n"] * 7, delay_s=0.3)

    async def own(client: Client) -> None:
        await client.send(request("GET", "/health"))
        assert (await client.response()).status == 200

    worker.script = long
    async with router.connect() as streaming, router.connect() as scraping:
        await own(streaming)
        await streaming.post(CHAT, chat(stream=True))
        for _ in range(6):
            await own(scraping)
            await asyncio.sleep(0.35)
        assert (await streaming.response()).complete
        await own(streaming)
        await own(scraping)


async def test_worker_that_closes_after_each_answer(
    worker: FakeWorker, router: RunningRouter
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    worker.script = raw_answer(answer, close=True)
    async with router.connect() as client:
        for _ in range(5):
            response = await client.call(CHAT, chat())
            assert (response.status, response.body) == (200, b"{}")
            assert response.header("connection") is None
    assert all(line["attempts"] == 1 for line in router.lines())


async def test_http_1_0(worker: FakeWorker, router: RunningRouter) -> None:
    """Answered with a body that ends with the connection: there are no chunks in HTTP/1.0."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n", b"data: 2\n\n"])

    worker.script = script
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON, version="1.0"))
        response = await client.response()
    assert response.header("transfer-encoding") is None
    assert response.body == b"data: 1\n\ndata: 2\n\n"


async def test_http_1_0_with_a_length(worker: FakeWorker, router: RunningRouter) -> None:
    async with router.connect() as client:
        await client.send(
            request("POST", CHAT, JSON, [("Connection", "keep-alive")], version="1.0")
        )
        response = await client.response()
        assert response.json()["body"] == JSON.decode()
        assert await client.at_end() == b""


# -- methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_methods_are_the_worker_s_business(
    method: str, worker: FakeWorker, router: RunningRouter
) -> None:
    response = await router.get(CHAT, method=method)
    assert response.json()["method"] == method


async def test_head(worker: FakeWorker, router: RunningRouter) -> None:
    """A length and no body; the connection goes on."""
    worker.script = raw_answer(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 31\r\n\r\n")
    async with router.connect() as client:
        await client.send(request("HEAD", CHAT))
        response = await client.response(method="HEAD")
        assert (response.status, response.header("content-length")) == (405, "31")
        await client.send(request("HEAD", "/") + request("HEAD", "/v1/models"))
        for _ in range(2):
            assert (await client.response(method="HEAD")).status == 200
        await client.send(request("GET", "/health"))
        assert (await client.response()).status == 200


async def test_options_of_the_whole_server(worker: FakeWorker, router: RunningRouter) -> None:
    """`*` is no path; it is answered all the same."""
    async with router.connect() as client:
        await client.send(request("OPTIONS", "*") + request("GET", "/health"))
        assert (await client.response(method="OPTIONS")).status in (200, 204, 400, 404, 405)
    assert worker.requests == []


async def test_preflight_is_forwarded(worker: FakeWorker, router: RunningRouter) -> None:
    """Browsers ask first, without credentials; the worker's answer is the one that counts."""

    async def script(request: Request, wire: Wire) -> None:
        assert request.method == "OPTIONS"
        wanted = request.header("access-control-request-headers")
        allowed = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Headers", wanted)]
        await wire.reply(200, [(name, value or "") for name, value in allowed], b"OK")

    worker.script = script
    response = await router.get(
        CHAT,
        [
            ("Origin", "http://ui"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,x-stainless-os"),
        ],
        method="OPTIONS",
    )
    assert (response.status, response.body) == (200, b"OK")
    assert response.header("access-control-allow-headers") == "authorization,x-stainless-os"


async def test_browsers_can_list_models(router: RunningRouter) -> None:
    """The router's own answer needs what a worker's has: a browser's client begins with the models."""
    preflight = await router.get(
        "/v1/models",
        [
            ("Origin", "http://ui"),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization"),
        ],
        method="OPTIONS",
    )
    assert preflight.status in (200, 204)
    assert preflight.header("access-control-allow-origin") in ("*", "http://ui")
    assert "authorization" in (preflight.header("access-control-allow-headers") or "").lower()
    response = await router.get("/v1/models", [("Origin", "http://ui")])
    assert response.header("access-control-allow-origin") in ("*", "http://ui")


# -- targets -----------------------------------------------------------------------------------

TARGETS = {
    "/v1/chat/completions": "/v1/chat/completions",
    "/v1/chat/completions/": "/v1/chat/completions",
    "//v1/chat/completions": "/v1/chat/completions",
    "/v1//chat///completions//": "/v1/chat/completions",
    "http://other:1/v1/chat/completions": "/v1/chat/completions",
    "http://other/v1/chat/completions/?a=1": "/v1/chat/completions?a=1",
    "/v1/messages?beta=true": "/v1/messages?beta=true",
    "/v1/messages/?a=//b/&c=%2F&&=": "/v1/messages?a=//b/&c=%2F&&=",
    "/v1/responses/resp_1?stream=true&x=": "/v1/responses/resp_1?stream=true&x=",
    "/v1/responses/resp_1/cancel": "/v1/responses/resp_1/cancel",
}


@pytest.mark.parametrize("target", TARGETS)
async def test_target(target: str, worker: FakeWorker, router: RunningRouter) -> None:
    """Sloppy base URLs are served without a redirect, which would lose the credentials; queries are kept."""
    response = await router.post(chat(), target, [("Authorization", "Bearer k")])
    assert response.status == 200
    assert response.json()["target"] == TARGETS[target]
    assert worker.requests[0].header("authorization") == "Bearer k"


@pytest.mark.parametrize(
    "target",
    ["/health/", "//health", "//v1/models", "/v1/models/", "/v1//models?x=1", "http://h/health"],
)
async def test_own_targets(target: str, router: RunningRouter) -> None:
    """The router's own paths are as forgiving."""
    assert (await router.get(target)).status == 200


# -- request bodies ----------------------------------------------------------------------------


async def test_empty_body(worker: FakeWorker, router: RunningRouter) -> None:
    """The worker answers what it thinks of it."""
    response = await router.post(b"")
    assert response.json()["body"] == ""
    assert worker.requests[0].header("content-length") == "0"


async def test_get_has_no_length(worker: FakeWorker, router: RunningRouter) -> None:
    await router.get("/version")
    assert worker.requests[0].header("content-length") is None


async def test_large_body(worker: FakeWorker, router: RunningRouter) -> None:
    """Long contexts and images: defaults of a few megabytes reject ordinary prompts."""

    async def size(request: Request, wire: Wire) -> None:
        await wire.json({"size": len(request.body)})

    worker.script = size
    body = json.dumps(chat("x" * (20 << 20))).encode()
    assert (await router.post(body)).json() == {"size": len(body)}


async def test_chunked_body(worker: FakeWorker, router: RunningRouter) -> None:
    """The worker gets one length and no chunks; trailers stay behind."""
    pieces = [b'{"model"', b': "m", ', b'"x": "', b"y" * 300_000, b'"}']
    body = chunked(*pieces, trailers=[("X-Checksum", "1"), ("Authorization", "forged")])
    headers = [("Transfer-Encoding", "chunked"), ("Trailer", "X-Checksum")]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, body, headers))
        assert (await client.response()).status == 200
    (sent,) = worker.requests
    whole = b"".join(pieces)
    assert sent.body == whole
    assert sent.header("content-length") == str(len(whole))
    for name in ("transfer-encoding", "trailer", "x-checksum", "authorization"):
        assert sent.all(name) == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_expect_continue(framing: str, worker: FakeWorker, router: RunningRouter) -> None:
    """The client waits to be told before it sends; the worker is not asked."""
    length = ("Content-Length", str(len(JSON)))
    frame = length if framing == "length" else ("Transfer-Encoding", "chunked")
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", [frame, ("Expect", "100-continue")]))
        assert (await client.head()).status == 100
        await client.send(JSON if framing == "length" else chunked(JSON))
        response = await client.response()
    assert response.json()["body"] == JSON.decode()
    assert worker.requests[0].header("expect") is None


async def test_continue_is_said_once(worker: FakeWorker, router: RunningRouter) -> None:
    """However many pieces the body comes in; and never to who has sent it already."""
    waiting = [("Content-Length", str(len(JSON))), ("Expect", "100-continue")]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", waiting))
        assert (await client.head()).status == 100
        for byte in JSON:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.001)
        response = await client.response()
        assert (response.interim, response.json()["body"]) == ([], JSON.decode())
        await client.send(request("POST", CHAT, JSON, waiting))
        response = await client.response()
        assert (response.interim, response.json()["body"]) == ([], JSON.decode())


async def test_expect_continue_of_a_waiting_request(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """In the pipe it is told when it is its turn, after the answer before it."""
    async with router.connect() as client:
        waiting = [("Content-Length", "2"), ("Expect", "100-continue")]
        await client.send(request("POST", CHAT, JSON) + request("POST", CHAT, b"", waiting))
        assert (await client.response()).status == 200
        assert (await client.head()).status == 100
        await client.send(b"{}")
        assert (await client.response()).json()["body"] == "{}"


@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunked"])
async def test_body_over_the_limit(
    declared: bool, worker: FakeWorker, start_router: StartRouter
) -> None:
    """Refused before it is read to its end, in a way that a client which is still sending can read."""
    router = await start_router(worker, body_limit=100_000)
    async with router.connect() as client:
        if declared:
            start = request("POST", CHAT, b"", [("Content-Length", "50000000")])
        else:
            start = request("POST", CHAT, b"", [("Transfer-Encoding", "chunked")])
        await client.send(start)
        sending = asyncio.get_running_loop().create_task(_upload(client))
        response = await client.response()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert response.status == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert "100000" in response.json()["error"]["message"]
    assert response.header("connection") == "close"
    assert worker.requests == []
    line = await router.line()
    assert (line["status"], line["outcome"]) == (413, "client_error")


async def _upload(client: Client) -> None:
    while True:
        await client.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        await asyncio.sleep(0.001)


async def test_body_at_the_limit(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, body_limit=len(JSON))
    assert (await router.post(JSON)).status == 200
    assert (await router.post(JSON + b" ")).status == 413
    async with router.connect() as client:
        headers = [("Transfer-Encoding", "chunked")]
        await client.send(request("POST", CHAT, chunked(JSON[:5], JSON[5:]), headers))
        assert (await client.response()).status == 200


async def test_refusal_in_the_family_s_words(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, body_limit=10)
    response = await router.post(chat(), "/v1/messages")
    assert response.json()["error"]["type"] == "request_too_large"


# -- ambiguous and broken requests -------------------------------------------------------------

BROKEN = {
    "length and chunks": request(
        "POST", CHAT, chunked(JSON), [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    ),
    "chunks and length": request(
        "POST", CHAT, chunked(JSON), [("Transfer-Encoding", "chunked"), ("Content-Length", "5")]
    ),
    "two lengths": request(
        "POST", CHAT, JSON, [("Content-Length", str(len(JSON))), ("Content-Length", "2")]
    ),
    "negative length": request("POST", CHAT, JSON, [("Content-Length", "-1")]),
    "length with a sign": request("POST", CHAT, JSON, [("Content-Length", f"+{len(JSON)}")]),
    "unknown coding": request(
        "POST", CHAT, chunked(JSON), [("Transfer-Encoding", "chunked, gzip")]
    ),
    "bad chunk size": request("POST", CHAT, b"zz\r\n", [("Transfer-Encoding", "chunked")]),
    "space before colon": b"POST /v1/chat/completions HTTP/1.1\r\nHost : x\r\n\r\n",
    "line folding": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "null in a value": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "connect": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "chunked twice": request("POST", CHAT, chunked(JSON), [("Transfer-Encoding", "chunked")] * 2),
    "bare CR in a value": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nA: b\rX-Api: c\r\n\r\n",
    "no host": request("POST", CHAT, JSON).replace(b"Host: router\r\n", b""),
    "two hosts": request("POST", CHAT, JSON, [("Host", "a"), ("Host", "b")]),
    "a host twice": request("POST", CHAT, JSON, [("Host", "a"), ("Host", "a")]),
    "no host name": request("POST", CHAT, JSON, host="a b"),
    "a host and more": request("POST", CHAT, JSON, host="a, b"),
    "two hosts, absolute": request("POST", "http://a" + CHAT, JSON, [("Host", "a"), ("Host", "b")]),
    "two hosts of our own": request("GET", "/health", b"", [("Host", "a"), ("Host", "b")]),
    "no host of our own": b"GET /health HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_request(name: str, worker: FakeWorker, router: RunningRouter) -> None:
    """Answered 400 and closed, and never sent on: what two servers read differently is how requests are smuggled."""
    async with router.connect() as client:
        await client.send(BROKEN[name])
        response = await client.response()
        assert response.status == 400
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert await client.at_end() == b""
    assert worker.requests == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
@pytest.mark.parametrize("target", [CHAT, "/explain"])
async def test_unknown_transfer_coding(
    coding: str, target: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """Its bytes are not what they seem, and would be sent on as if they were."""
    async with router.connect() as client:
        fields = [("Transfer-Encoding", coding)]
        await client.send(request("POST", target, chunked(JSON), fields))
        response = await client.response()
        assert (response.status, response.header("connection")) == (501, "close")
        assert response.json()["error"]["code"] == "unsupported_transfer_coding"
        assert await client.at_end() == b""
    assert worker.requests == []


async def test_host_of_an_absolute_target(worker: FakeWorker, router: RunningRouter) -> None:
    """Neither it nor the Host field goes to the worker."""
    async with router.connect() as client:
        await client.send(request("POST", "http://other:1" + CHAT + "?a=b", JSON, host="third"))
        assert (await client.response()).status == 200
    (sent,) = worker.requests
    assert (sent.target, sent.header("host")) == (CHAT + "?a=b", worker.authority)


async def test_requests_behind_a_request(worker: FakeWorker, router: RunningRouter) -> None:
    """What is in a body is never taken for a request, nor what is behind one for its body."""
    hidden = request("POST", "/v1/completions", b"hidden")
    async with router.connect() as client:
        await client.send(request("POST", CHAT, hidden) + request("POST", CHAT, b"next"))
        await client.send(
            request("POST", CHAT, chunked(hidden), [("Transfer-Encoding", "chunked")])
        )
        bodies = [(await client.response()).json()["body"] for _ in range(3)]
    assert bodies == [hidden.decode(), "next", hidden.decode()]
    assert [sent.path for sent in worker.requests] == [CHAT] * 3


async def test_broken_request_behind_a_good_one(worker: FakeWorker, router: RunningRouter) -> None:
    """The good one's answer is whole, or cut off; the refusal of the next is not written into it."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(b"data: 1\n\n")
        await asyncio.sleep(0.05)
        await wire.chunk(b"data: 2\n\n")
        await wire.end()

    worker.script = script
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON))
        response = await client.head()
        pieces = client.chunks(response)
        assert await anext(pieces) == b"data: 1\n\n"
        await client.send(b"garbage\r\n\r\n")
        rest = await client.at_end()
    first, end, _ = rest.partition(b"0\r\n\r\n")
    assert b"400" not in first
    assert not end or first == b"9\r\ndata: 2\n\n\r\n"


# -- header fields -----------------------------------------------------------------------------


async def test_request_fields(worker: FakeWorker, router: RunningRouter) -> None:
    """Everything passes as it came, in order, except what belongs to the connection; Host is the worker's."""
    keep: Fields = [
        ("Authorization", "Bearer secret"),
        ("X-Empty", ""),
        ("X-Twice", "1"),
        ("Accept-Encoding", "gzip, br"),
        ("X-Twice", "2"),
        ("Cookie", "a=1"),
        ("X-Latin", "caf\xe9"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Forwarded", "for=1.2.3.4"),
    ]
    drop: Fields = [
        ("Connection", "keep-alive, X-Mine , x-other"),
        ("X-Mine", "1"),
        ("x-other", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
    ]
    await router.post(chat(), headers=[*keep, *drop])
    (sent,) = worker.requests
    own = {"host", "content-type", "content-length", "x-request-id"}
    passed = [(name, value) for name, value in sent.headers if name.lower() not in own]
    assert passed == [(name.lower(), value) for name, value in keep]
    assert sent.header("host") == worker.authority


async def test_response_fields(worker: FakeWorker, router: RunningRouter) -> None:
    keep = [
        ("content-type", "application/json"),
        ("set-cookie", "a=1; Path=/"),
        ("x-empty", ""),
        ("set-cookie", "b=2"),
        ("server", "uvicorn"),
        ("vary", "Origin"),
        ("etag", '"x"'),
        ("x-latin", "caf\xe9"),
    ]
    drop = [
        ("Connection", "keep-alive, x-mine"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("X-Request-Id", "the worker's"),
        ("X-Router-Worker", "forged"),
    ]

    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(200, [*keep, *drop], b"{}")

    worker.script = script
    response = await router.post(chat(), headers=[("X-Request-Id", "mine")])
    own = {"content-length", "x-request-id", "x-router-worker"}
    passed = [(name, value) for name, value in response.headers if name.lower() not in own]
    assert passed == keep
    assert response.header("x-request-id") == "mine"
    assert response.header("x-router-worker") == worker.id


@pytest.mark.parametrize("named", ["host", "content-length", "transfer-encoding", "x-request-id"])
async def test_connection_does_not_undo_what_a_request_needs(
    named: str, worker: FakeWorker, router: RunningRouter
) -> None:
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat(), [("Connection", f"{named}, close-not")])
            assert response.json()["body"] == json.dumps(chat())
    for sent in worker.requests:
        assert sent.header("host") == worker.authority
        assert sent.header("content-length") == str(len(json.dumps(chat())))
        assert sent.header("x-request-id")


async def test_expectation_that_nobody_knows(worker: FakeWorker, router: RunningRouter) -> None:
    """It is not passed on, and not waited for."""
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON, [("Expect", "202-created")]))
        assert (await client.response()).status == 200
    assert worker.requests[0].header("expect") is None


@pytest.mark.parametrize("field", [b"X-A: b\rSet-Cookie: c", b"X-A: b\0c", b"X A: b", b"X-A : b"])
async def test_fields_that_a_worker_cannot_add(
    field: bytes, worker: FakeWorker, router: RunningRouter
) -> None:
    worker.script = raw_answer(
        b"HTTP/1.1 200 OK\r\n" + field + b"\r\nContent-Length: 2\r\n\r\n{}", close=True
    )
    response = await router.post(chat())
    assert response.status == 502
    assert response.header("set-cookie") is None


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "foo"])
async def test_upgrade_is_not_taken(
    protocol: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """Clients that offer HTTP/2 are answered in HTTP/1.1, again and again."""
    offer = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", protocol),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ]
    async with router.connect() as client:
        for _ in range(3):
            response = await client.call(CHAT, chat(), offer)
            assert response.json()["body"] == json.dumps(chat())
    for sent in worker.requests:
        assert [sent.all(n) for n in ("upgrade", "connection", "http2-settings")] == [[], [], []]


async def test_upgrade_offers_in_any_pieces(worker: FakeWorker, router: RunningRouter) -> None:
    """Several in one write, and one byte by byte."""
    offer = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    data = b"".join(request("POST", CHAT, b"%d" % n, offer) for n in range(3))
    data += request("GET", "/health", headers=offer) + request("POST", CHAT, b"3", offer)
    async with router.connect() as client:
        await client.send(data)
        for byte in request("POST", CHAT, b"4", offer):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        answers = [await client.response() for _ in range(6)]
    assert [a.json()["body"] for n, a in enumerate(answers) if n != 3] == ["0", "1", "2", "3", "4"]
    assert (answers[3].status, answers[3].body) == (200, b"")


# -- answers of every framing ------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(
    status: int, worker: FakeWorker, router: RunningRouter
) -> None:
    async def script(request: Request, wire: Wire) -> None:
        phrase = "No Content" if status == 204 else "Not Modified"
        await wire.raw(f'HTTP/1.1 {status} {phrase}\r\nETag: "x"\r\n\r\n'.encode())

    worker.script = script
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat())
            assert response.status == status
            assert response.header("etag") == '"x"'
            assert response.header("transfer-encoding") is None
    assert len({sent.wire for sent in worker.requests}) == 1


async def test_interim_answers(worker: FakeWorker, router: RunningRouter) -> None:
    """Early hints pass; a worker's own 100 is not the client's business."""
    worker.script = raw_answer(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    )
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat())
            assert [r.status for r in response.interim] == [103, 103]
            assert response.interim[0].headers == [("link", "</a>; rel=preload")]
            assert (response.status, response.body) == (200, b"{}")
            assert response.all("link") == []


async def test_http_1_0_gets_no_interim_answers(worker: FakeWorker, router: RunningRouter) -> None:
    worker.script = raw_answer(
        b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    )
    async with router.connect() as client:
        await client.send(request("POST", CHAT, JSON, version="1.0"))
        response = await client.response()
    assert (response.interim, response.body) == ([], b"{}")


async def test_answer_that_ends_with_the_connection(
    worker: FakeWorker, router: RunningRouter
) -> None:
    worker.script = raw_answer(b"HTTP/1.0 200 OK\r\n\r\n", b"abc", b"def", close=True)
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat())
            assert response.body == b"abcdef"
            assert response.complete
            assert response.header("transfer-encoding") == "chunked"


async def test_chunked_answer_with_trailers(worker: FakeWorker, router: RunningRouter) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Trailer", "X-Sum")])
        await wire.chunk(b"abc")
        await wire.end([("X-Sum", "1")])

    worker.script = script
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat())
            assert response.body == b"abc"
            assert [(n.lower(), v) for n, v in response.trailers] == [("x-sum", "1")]
    assert len({sent.wire for sent in worker.requests}) == 1


async def test_answer_in_one_piece_and_in_many(worker: FakeWorker, router: RunningRouter) -> None:
    """However the worker's bytes are cut, the answer is the same."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"

    async def byte_by_byte(request: Request, wire: Wire) -> None:
        for byte in whole:
            await wire.raw(bytes([byte]))
            await asyncio.sleep(0)

    for script in (raw_answer(whole), byte_by_byte):
        worker.script = script
        response = await router.post(chat())
        assert (response.body, response.complete, response.header("x-a")) == (b"abcdefg", True, "b")


async def test_bytes_behind_an_answer(worker: FakeWorker, router: RunningRouter) -> None:
    """What a worker sends unasked is nobody's answer."""
    worker.script = raw_answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    )
    async with router.connect() as client:
        for _ in range(3):
            assert (await client.call(CHAT, chat())).body == b"{}"
    assert len({sent.wire for sent in worker.requests}) == 3


async def test_answer_before_the_request_is_read(worker: FakeWorker, router: RunningRouter) -> None:
    """A worker that refuses early and closes: its answer is the client's."""
    body = json.dumps(chat("x" * 3_000_000)).encode()

    async def script(request: Request, wire: Wire) -> None:
        await wire.json({"error": "no"}, 413, [("Connection", "close")])
        wire.close()

    worker.script = script
    response = await router.post(body)
    assert (response.status, response.json()) == (413, {"error": "no"})


async def test_connection_with_an_unread_request_is_not_used_again(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """A worker that refuses a large body may never read it: the next request must not wait behind it."""
    early: list[Wire] = []

    def refuse(method: str, wire: Wire) -> None:
        if (method, wire.target) == ("POST", CHAT) and not early:
            early.append(wire)
            wire.answer_early(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")

    worker.on_head = refuse
    async with router.connect() as client:
        assert (await client.call(CHAT, chat("x" * 20_000_000))).status == 413
        for _ in range(3):
            assert (await client.call(CHAT, chat())).status == 200
    assert early[0] not in {sent.wire for sent in worker.requests}
    early[0].resume()


# -- addresses ---------------------------------------------------------------------------------


async def test_worker_behind_a_path_prefix(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    worker = await start_worker(prefix="/deploy/a")
    router = await start_router(worker.url + "/")
    response = await router.post(chat(), "/v1/chat/completions?x=1")
    assert response.json()["target"] == "/deploy/a/v1/chat/completions?x=1"
    assert response.header("x-router-worker") == f"127.0.0.1:{worker.port}/deploy/a"
    pinned = await router.post(chat(), headers=[("x-router-worker", worker.id)])
    assert pinned.status == 200


async def test_two_workers_behind_one_address(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """Told apart by their prefixes, as behind an ingress."""
    for part in ("a", "b"):
        for path in ("/health", "/v1/models", "/metrics"):
            worker.routes[f"/{part}{path}"] = worker.routes[path]
    router = await start_router(worker.url + "/a", worker.url + "/b", policy="round_robin")
    targets = {(await router.post(chat())).json()["target"] for _ in range(2)}
    assert targets == {"/a/v1/chat/completions", "/b/v1/chat/completions"}


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 loopback here")
async def test_ipv6_worker(start_worker: StartWorker, start_router: StartRouter) -> None:
    worker = await start_worker(host="::1")
    router = await start_router(worker)
    response = await router.post(chat())
    assert worker.requests[0].header("host") == f"[::1]:{worker.port}"
    assert response.header("x-router-worker") == f"[::1]:{worker.port}"


async def test_tls_to_the_worker(
    start_worker: StartWorker, start_router: StartRouter, certificate: Certificate
) -> None:
    worker = await start_worker(tls=certificate.server())
    router = await start_router(worker, worker_ca_file=certificate.cert)
    body = chat("x" * 300_000)
    for _ in range(2):
        assert (await router.post(body)).json()["body"] == json.dumps(body)
    assert len({sent.wire for sent in worker.requests}) == 1


async def test_worker_whose_certificate_is_not_trusted(
    start_worker: StartWorker,
    start_router: StartRouter,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.3)
    worker = await start_worker(tls=certificate.server())
    router = await start_router(worker)
    assert not router.workers[0].up
    assert "certificate" in (router.workers[0].last_error or "").lower()
    assert (await router.post(chat())).status == 503


async def test_tls_to_the_client(
    worker: FakeWorker, start_router: StartRouter, certificate: Certificate
) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: 1\n\n", b"data: " + b"x" * 500_000 + b"\n\n"])

    worker.script = script
    router = await start_router(
        worker,
        tls=certificate.client(),
        tls_cert_file=certificate.cert,
        tls_key_file=certificate.key,
    )
    assert router.url.startswith("https")
    async with router.connect() as client:
        for _ in range(2):
            response = await client.call(CHAT, chat("y" * 100_000, stream=True))
            assert response.body == b"data: 1\n\ndata: " + b"x" * 500_000 + b"\n\n"
    assert (await router.get("/health")).status == 200
    async with router.connect() as client:
        worker.script = _hang
        await client.post(CHAT, chat())
        await worker.received_count(3)
        await client.leave()
        await eventually(lambda: router.inflight == 0)


async def _hang(request: Request, wire: Wire) -> None:
    await wire.hang()
