"""How large requests may be, and how they may be framed."""

import asyncio
import json

import pytest

from router.settings import Settings
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat
from tests.fakes.client import chunked, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

MB = 1_000_000
LIMIT = 100_000


async def _counts(request: Request, wire: Wire) -> None:
    await wire.json({"bytes": len(request.body), "length": request.header("content-length")})


async def test_large_prompts_fit(worker: FakeWorker, router: RunningRouter) -> None:
    """body-limit: long prompts and images are refused by a default limit that is far too small."""
    assert Settings().body_limit >= 64 * 1024 * 1024
    worker.script = _counts
    body = json.dumps(chat("x" * 20 * MB)).encode()
    assert (await router.post(body)).json()["bytes"] == len(body)


async def test_too_large_is_said_before_it_is_read(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """body-limit: one byte too many gets a 413 that says the limit, before the body is read."""
    router = await start_router(worker, body_limit=LIMIT)
    body = json.dumps(chat("x" * (LIMIT - len(json.dumps(chat("")))))).encode()
    assert len(body) == LIMIT
    assert (await router.post(body)).status == 200
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", [("Content-Length", str(LIMIT + 1))]))
        answer = await client.response()
    assert answer.status == 413
    assert str(LIMIT) in answer.json()["error"]["message"]
    assert len(worker.requests) == 1


async def test_chunked_upload(worker: FakeWorker, router: RunningRouter) -> None:
    """chunked-request: a body without a length is refused, hangs, or reaches the worker without one."""
    worker.script = _counts
    body = json.dumps(chat("x" * 5 * MB)).encode()
    fields = [("Transfer-Encoding", "chunked"), ("Expect", "100-continue")]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", fields))
        async with asyncio.timeout(10):
            assert (await client.head()).status == 100
        await client.send(chunked(*(body[n : n + 65_536] for n in range(0, len(body), 65_536))))
        answer = await client.response()
    assert answer.json() == {"bytes": len(body), "length": str(len(body))}
    assert worker.requests[0].all("transfer-encoding") == []


async def test_chunked_upload_over_the_limit(worker: FakeWorker, start_router: StartRouter) -> None:
    """chunked-request: a body without a length is counted as it comes, so that the limit holds for it too."""
    router = await start_router(worker, body_limit=LIMIT)
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", [("Transfer-Encoding", "chunked")]))
        for _ in range(2):
            await client.send(chunked(b"x" * (LIMIT // 2 + 1))[:-5])
        answer = await client.response()
    assert answer.status == 413
    assert worker.requests == []


@pytest.mark.parametrize("first", ["Content-Length", "Transfer-Encoding"])
async def test_framed_twice(first: str, worker: FakeWorker, router: RunningRouter) -> None:
    """cl-te-both: a request that says its length in two ways means one thing here and another at the worker."""
    fields = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    fields = fields if first == "Content-Length" else fields[::-1]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", fields))
        assert (await client.response()).status == 400
        await client.at_end()
    assert worker.requests == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_worker_gets_one_framing(
    framing: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """cl-te-both: the worker is told the length of a body once, however the client framed it."""
    body = json.dumps(chat()).encode()
    async with router.connect() as client:
        if framing == "length":
            await client.send(request("POST", CHAT, body))
        else:
            fields = [("Transfer-Encoding", "chunked")]
            await client.send(request("POST", CHAT, chunked(body), fields))
        assert (await client.response()).status == 200
    (sent,) = worker.requests
    framed = [name.lower() for name, _ in sent.headers]
    assert framed.count("content-length") == 1
    assert "transfer-encoding" not in framed


async def test_long_model_name_at_the_limit(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """alias-exceeds-limit: a model's other name makes the body longer than its length says or the limit allows."""
    name = "n" * 200
    worker = await start_worker(models=(name, "m"), script=_counts)
    router = await start_router(worker, body_limit=LIMIT)
    for model in (name, "m"):
        body = json.dumps(chat(model=model)).encode().ljust(LIMIT)
        assert (await router.post(body)).json() == {"bytes": LIMIT, "length": str(LIMIT)}
        assert worker.requests[-1].body == body
