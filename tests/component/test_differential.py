"""The connection class and the plain ASGI twin answer alike: same status, fields and body, whatever is asked."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat
from tests.fakes.client import Response, chunked, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

FRAMING = {"content-length", "transfer-encoding", "connection", "date", "keep-alive", "trailer"}


async def scripted(request: Request, wire: Wire) -> None:
    """Does what the request's `x-do` field says."""
    act = request.header("x-do") or "echo"
    fields = [
        ("Content-Type", "application/json"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("X-Empty", ""),
    ]
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": [(n.lower(), v) for n, v in request.headers if n.lower() != "host"],
        "body": request.body.decode("latin-1"),
    }
    if act == "stream":
        await wire.stream(sse({"n": 1}, {"n": 2}), headers=[("X-A", "b")])
    elif act == "break":
        await wire.stream(sse({"n": 1}, done=False), end=False)
        await asyncio.sleep(0.02)
        wire.reset()
    elif act == "break at once":
        await wire.raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nno chunk\r\n"
        )
    elif act == "close":
        await wire.raw(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end")
        wire.close()
    elif act == "trailers":
        await wire.start(200, fields)
        await wire.chunk(b"abc")
        await wire.end([("X-Sum", "1")])
    elif act == "hints":
        await wire.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await wire.json(seen)
    elif act in ("204", "304"):
        await wire.raw(f"HTTP/1.1 {act} X\r\nX-A: b\r\n\r\n".encode())
    elif act == "head":
        await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n")
    elif act.isdigit():
        await wire.json(seen, int(act), fields[1:])
    else:
        await wire.json(seen, 200, fields[1:])


def post(value: Any, target: str = CHAT, **fields: str) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = [(name.replace("_", "-"), text) for name, text in fields.items()]
    return request("POST", target, body, [("X-Request-Id", "same"), *headers])


BATTERY: dict[str, bytes] = {
    "plain": post(chat()),
    "stream": post(chat(stream=True), x_do="stream"),
    "stream that breaks": post(chat(stream=True), x_do="break"),
    "stream that breaks, messages": post(chat(stream=True), "/v1/messages", x_do="break"),
    "breaks at once": post(chat(), x_do="break at once"),
    "ends with the connection": post(chat(), x_do="close"),
    "trailers": post(chat(), x_do="trailers"),
    "no content": post(chat(), x_do="204"),
    "not modified": post(chat(), x_do="304"),
    "client error": post(chat(), x_do="422"),
    "server error": post(chat(stream=True), x_do="500"),
    "refused": post(chat(), x_do="503"),
    "unknown model": post({"model": "nope"}),
    "unknown worker": post(chat(), x_router_worker="no:1"),
    "query and slashes": post(chat(), "//v1/chat//completions/?a=1&b=%2F"),
    "hop by hop": post(chat(), connection="x-mine", x_mine="1", te="trailers", keep_alive="5"),
    "empty": post(b""),
    "odd": post(b"\x00\xff"),
    "chunked": request(
        "POST",
        CHAT,
        chunked(b'{"model":', b'"m"}', trailers=[("X-T", "1")]),
        [("Transfer-Encoding", "chunked"), ("X-Request-Id", "same")],
    ),
    "too large": post(b" " * 70_000),
    "get": request("GET", "/version", headers=[("X-Request-Id", "same")]),
    "head": request("HEAD", CHAT, headers=[("X-Request-Id", "same"), ("X-Do", "head")]),
    "options": request("OPTIONS", CHAT, headers=[("X-Request-Id", "same"), ("Origin", "http://u")]),
    "own: health": request("GET", "/health"),
    "own: models": request("GET", "/v1/models"),
    "own: unknown": request("GET", "/nope"),
    "own: control": request("POST", "/sleep"),
    "http/1.0": request("POST", CHAT, b"{}", [("X-Request-Id", "same")], version="1.0"),
}


async def _pair(start_worker: StartWorker, start_router: StartRouter) -> list[RunningRouter]:
    worker: FakeWorker = await start_worker(script=scripted)
    settings = {"body_limit": 65_536}
    return [
        await start_router(worker, **settings),
        await start_router(worker, configure=asgi_config, **settings),
    ]


async def _ask(router: RunningRouter, data: bytes) -> Response:
    async with router.connect() as client:
        await client.send(data)
        return await client.response(method=data.partition(b" ")[0].decode())


def _comparable(response: Response) -> tuple[object, ...]:
    fields = [(name.lower(), value) for name, value in response.headers]
    kept = [(name, value) for name, value in fields if name not in FRAMING]
    return response.status, kept, response.body, response.complete


@pytest.fixture
async def twins(start_worker: StartWorker, start_router: StartRouter) -> list[RunningRouter]:
    """The same router twice before one worker: as a connection class and as an ASGI application."""
    return await _pair(start_worker, start_router)


async def test_battery(twins: list[RunningRouter]) -> None:
    for name, data in BATTERY.items():
        edge, asgi = [_comparable(await _ask(router, data)) for router in twins]
        assert (name, edge) == (name, asgi)


async def test_lines_agree(twins: list[RunningRouter]) -> None:
    """And so do their logs."""
    vary = {"ts", "ttft_ms", "duration_ms"}
    for data in BATTERY.values():
        for router in twins:
            await _ask(router, data)
    edge, asgi = [
        [{k: v for k, v in line.items() if k not in vary} for line in router.lines()]
        for router in twins
    ]
    assert edge == asgi


TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(lambda text: f"x-{text}")
VALUE = st.text([chr(n) for n in range(33, 127)], max_size=12)
BODY = st.binary(max_size=200) | st.builds(
    lambda text, stream: json.dumps(chat(text, stream=stream)).encode(), st.text(), st.booleans()
)


@limits(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.sampled_from(
        [CHAT, "/v1/messages", "//v1/responses/", "/v1/responses/resp_1", "/tokenize"]
    ),
    query=st.text("ab=&%2/?;+", max_size=8),
    act=st.sampled_from(["echo", "stream", "404", "503", "204"]),
    headers=st.lists(st.tuples(TOKEN, VALUE), max_size=5),
    body=BODY,
    cuts=st.lists(st.integers(1, 50), max_size=3),
)
async def test_generated(
    twins: list[RunningRouter],
    target: str,
    query: str,
    act: str,
    headers: list[tuple[str, str]],
    body: bytes,
    cuts: list[int],
) -> None:
    fields = [("X-Request-Id", "same"), ("X-Do", act)]
    fields += [field for field in headers if field[0] not in ("x-do", "x-request-id")]
    url = f"{target}?{query}" if query else target
    if cuts:
        pieces = [body[start : start + 50] for start in range(0, len(body), 50)]
        data = request("POST", url, chunked(*pieces), [*fields, ("Transfer-Encoding", "chunked")])
    else:
        data = request("POST", url, body, fields)
    edge, asgi = [_comparable(await _ask(router, data)) for router in twins]
    assert edge == asgi
