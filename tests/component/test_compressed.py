"""Request bodies that come compressed: workers get them as they were before."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd

from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat, eventually
from tests.fakes.client import Fields, chunked, request
from tests.fakes.worker import FakeWorker

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": brotli.compress,
}
CODINGS = pytest.mark.parametrize("coding", PACK)
SMALL = json.dumps(chat("hi")).encode()
LARGE = json.dumps(chat("".join(f"{n:x} " for n in range(300_000)))).encode()


def coded(coding: str) -> Fields:
    return [("Content-Encoding", coding), ("Content-Type", "application/json")]


@CODINGS
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_decoded(coding: str, body: bytes, worker: FakeWorker, router: RunningRouter) -> None:
    """With a length, in chunks and twice on a connection; routed by what is in it."""
    packed = PACK[coding](body)
    half = len(packed) // 2
    pieces = chunked(packed[:half], packed[half:])
    async with router.connect() as client:
        await client.send(request("POST", CHAT, packed, coded(coding)))
        assert (await client.response()).status == 200
        head = [*coded(coding.upper()), ("Transfer-Encoding", "chunked")]
        await client.send(request("POST", CHAT, pieces, head))
        assert (await client.response()).status == 200
    for sent in worker.requests:
        assert sent.body == body
        assert sent.header("content-length") == str(len(body))
        assert sent.header("content-encoding") is None
        assert sent.header("content-type") == "application/json"
    assert (await router.line())["model"] == "m"
    assert router.app.services.bodies.held == 0


@CODINGS
async def test_in_any_pieces(coding: str, worker: FakeWorker, router: RunningRouter) -> None:
    packed = PACK[coding](SMALL)
    async with router.connect() as client:
        for byte in request("POST", CHAT, packed, coded(coding)):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).json()["body"] == SMALL.decode()


async def test_several_in_one_write(worker: FakeWorker, router: RunningRouter) -> None:
    """Behind one another, compressed or not."""
    one = request("POST", CHAT, gzip.compress(LARGE), coded("gzip"))
    async with router.connect() as client:
        await client.send(one + request("POST", CHAT, SMALL) + one)
        bodies = [(await client.response()).json()["body"] for _ in range(3)]
    assert [len(body) for body in bodies] == [len(LARGE), len(SMALL), len(LARGE)]


@pytest.mark.parametrize("body", [b"", b"x" * 100])
async def test_identity_is_no_coding(
    body: bytes, worker: FakeWorker, router: RunningRouter
) -> None:
    assert (await router.post(body, headers=coded("identity"))).json()["body"] == body.decode()
    assert worker.requests[0].header("content-encoding") is None


async def test_nothing_is_nothing(worker: FakeWorker, router: RunningRouter) -> None:
    assert (await router.get("/version", coded("gzip"))).status == 200
    assert worker.requests[0].body == b""


@CODINGS
@pytest.mark.parametrize("size", [100, 10_000_000], ids=["at once", "in pieces"])
async def test_bomb(coding: str, size: int, worker: FakeWorker, start_router: StartRouter) -> None:
    """Refused as soon as it is over the limit, and never there as a whole."""
    router = await start_router(worker, body_limit=1_000_000)
    bomb = PACK[coding](b"\0" * 40_000_000)
    padded = [*coded(coding), ("Content-Length", str(max(len(bomb), size // 100)))]
    tracemalloc.start()
    try:
        async with router.connect() as client:
            await client.send(request("POST", CHAT, bomb, padded))
            response = await client.response()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert peak < 8_000_000 + len(bomb)
    assert worker.requests == []
    assert router.app.services.bodies.held == 0


async def test_decoded_bytes_are_what_is_held(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, body_limit=1_000_000, body_memory_limit=1_000_000)
    packed = gzip.compress(b"x" * 900_000)
    held = router.app.services.bodies
    held.held = 200_000
    response = await router.post(packed, headers=coded("gzip"))
    assert (response.status, response.json()["error"]["code"]) == (503, "router_out_of_memory")
    await eventually(lambda: held.held == 200_000)
    held.held = 0
    assert (await router.post(packed, headers=coded("gzip"))).status == 200


@CODINGS
@pytest.mark.parametrize("spoilt", ["cut off", "garbage", "with more"])
async def test_corrupt(coding: str, spoilt: str, worker: FakeWorker, router: RunningRouter) -> None:
    packed = PACK[coding](SMALL)
    bodies = {"cut off": packed[:-1], "garbage": b"\xff" * 100, "with more": packed + b"\xff" * 40}
    async with router.connect() as client:
        await client.send(request("POST", CHAT, bodies[spoilt], coded(coding)))
        response = await client.response()
    assert (response.status, response.header("connection")) == (400, "close")
    assert response.json()["error"]["code"] == "invalid_content_encoding"
    assert worker.requests == []


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "x", "gzip;q=1"])
@pytest.mark.parametrize("length", [0, 100_000], ids=["whole", "announced"])
async def test_unknown(coding: str, length: int, worker: FakeWorker, router: RunningRouter) -> None:
    """Whoever asks for it is told what is accepted."""
    fields = [*coded(coding), ("Content-Length", str(length))]
    async with router.connect() as client:
        await client.send(request("POST", "/v1/messages", b"", fields))
        response = await client.response()
    assert response.status == 415
    assert "gzip" in (response.header("accept-encoding") or "")
    assert "br, deflate, gzip" in response.json()["error"]["message"]
    assert worker.requests == []


async def test_two_fields(worker: FakeWorker, router: RunningRouter) -> None:
    twice = [*coded("gzip"), ("Content-Encoding", "gzip")]
    body = gzip.compress(gzip.compress(SMALL))
    assert (await router.post(body, headers=twice)).status == 415
    assert worker.requests == []


async def test_expectation(worker: FakeWorker, router: RunningRouter) -> None:
    packed = gzip.compress(SMALL)
    fields = [*coded("gzip"), ("Expect", "100-continue"), ("Content-Length", str(len(packed)))]
    async with router.connect() as client:
        await client.send(request("POST", CHAT, b"", fields))
        assert (await client.head()).status == 100
        await client.send(packed)
        assert (await client.response()).json()["body"] == SMALL.decode()


async def test_explain(worker: FakeWorker, router: RunningRouter) -> None:
    packed = gzip.compress(SMALL)
    response = await router.post(packed, "/explain", coded("gzip"))
    assert response.status == 200
    assert (await router.post(packed, "/explain", coded("x"))).status == 415


async def test_behind_another_server(worker: FakeWorker, start_router: StartRouter) -> None:
    """The plain ASGI twin decodes alike."""
    router = await start_router(worker, configure=asgi_config)
    response: Any = await router.post(gzip.compress(LARGE), headers=coded("gzip"))
    assert response.json()["body"] == LARGE.decode()
    assert (await router.post(b"x", headers=coded("gzip"))).status == 400
    await eventually(lambda: router.app.services.bodies.held == 0)
