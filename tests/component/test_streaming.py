"""A worker's answer reaches the client byte for byte, as it comes, and without being gathered."""

import asyncio
import json
import random
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import pytest

from router.app import server_config
from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat, eventually
from tests.fakes.client import Response, request
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker, sse

BOTH = pytest.mark.parametrize("configure", [server_config, asgi_config], ids=["edge", "asgi"])
MIB = 1 << 20


def delta(**fields: Any) -> dict[str, Any]:
    """A chat chunk with one choice."""
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": fields}],
    }


def streams(*pieces: bytes, delay_s: float = 0.0) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(pieces, delay_s=delay_s)

    return script


async def _streamed(worker: FakeWorker, router: RunningRouter, *pieces: bytes) -> Response:
    worker.script = streams(*pieces)
    response = await router.post(chat(stream=True))
    assert response.status == 200
    assert response.complete
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.body == b"".join(pieces)
    return response


STREAMS: dict[str, list[bytes]] = {
    "crlf": [b"data: {}\r\n", b"\r\ndata: [DONE]\r\n\r\n"],
    "lone cr": [b"data: 1\r\rdata: 2\r\r"],
    "comments": [b": keep-alive\n\n", *sse({"n": 1}), b":\n\n"],
    "named events": [b"event: message_start\ndata: {}\n\nevent: ping\nid: 7\nretry: 10\ndata: {}\n\n"],
    "no done": sse({"n": 1}, done=False),
    "after done": [*sse({"n": 1}), b": trailing\n\n"],
    "byte order mark": [b"\xef\xbb\xbfdata: 1\n\n"],
    "not utf-8": [b"data: \xff\xfe\x00\n\n"],
    "no final newline": [b"data: {"],
    "empty": [],
    "several data lines": [b"data: a\ndata: b\n\n"],
    "reasoning": sse(delta(reasoning_content="hm", x_foo={"a": [1, None]}), delta(reasoning="hm")),
    "logprobs": sse({"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -0.1}]}}],
                     "prompt_logprobs": [None, {"1": {"logprob": -1e-9}}], "token_ids": [1, 2]}),
    "error in band": [*sse({"n": 1}, {"error": {"message": "dead", "code": 500}})],
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
async def test_bytes_pass(name: str, worker: FakeWorker, router: RunningRouter) -> None:
    """Fields and framing that the router does not know survive: it never decodes what it passes on."""
    await _streamed(worker, router, *STREAMS[name])


async def test_utf8_split_anywhere(worker: FakeWorker, router: RunningRouter) -> None:
    """Characters cut by a chunk's end used to come out as U+FFFD."""
    whole = 'data: {"t":"aä你🙂"}\n\n'.encode()
    for cut in range(1, len(whole)):
        worker.script = streams(whole[:cut], whole[cut:], delay_s=0.001)
        response = await router.post(chat(stream=True))
        assert response.body == whole
        assert "\ufffd" not in response.body.decode()


async def test_random_cuts(worker: FakeWorker, router: RunningRouter) -> None:
    """Wherever TCP cuts, the bytes are the same."""
    draw = random.Random(1)
    whole = b"".join(sse(*(delta(content="你好" * draw.randrange(40)) for _ in range(50))))
    for _ in range(10):
        cuts = sorted(draw.randrange(len(whole)) for _ in range(draw.randrange(60)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        worker.script = streams(*(piece for piece in pieces if piece))
        assert (await router.post(chat(stream=True))).body == whole


async def test_huge_data_line(worker: FakeWorker, router: RunningRouter) -> None:
    """An event of several megabytes (an image, logprobs of a long prompt)."""
    line = b'data: "' + b"x" * (5 * MIB) + b'"\n\n'
    await _streamed(worker, router, line, b"data: [DONE]\n\n")


async def test_choices_interleaved(worker: FakeWorker, router: RunningRouter) -> None:
    """With n=2 indices used to be merged; the first token of any choice is the first token."""
    events = sse(*({"choices": [{"index": n % 2, "delta": {"content": "x"}}]} for n in range(20)))
    await _streamed(worker, router, *events)
    assert (await router.line())["ttft_ms"] is not None


async def test_tool_arguments_keep_their_pace(worker: FakeWorker, router: RunningRouter) -> None:
    """Argument deltas used to arrive as one burst, or to lose the call's id and name."""
    calls = [
        delta(
            tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]
        ),
        *(delta(tool_calls=[{"index": 0, "function": {"arguments": str(n)}}]) for n in range(12)),
    ]
    worker.script = streams(*sse(*calls), delay_s=0.03)
    response = await router.post(chat(stream=True))
    assert response.body == b"".join(sse(*calls))
    times = [at for at, _ in response.pieces]
    gaps = [b - a for a, b in pairwise(times)]
    assert len(response.pieces) == len(calls) + 1
    assert 0.015 < median(gaps) < 0.06


async def test_first_event_is_not_held_back(worker: FakeWorker, router: RunningRouter) -> None:
    """Head and first event are the client's before the second is written."""
    passed = asyncio.Event()

    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        await wire.chunk(b"data: 1\n\n")
        await passed.wait()
        await wire.chunk(b"data: 2\n\n")
        await wire.end()

    worker.script = script
    async with router.connect() as client, asyncio.timeout(5):
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        pieces = client.chunks(response)
        assert await anext(pieces) == b"data: 1\n\n"
        passed.set()
        assert [piece async for piece in pieces] == [b"data: 2\n\n"]


@pytest.mark.parametrize("options", [None, {"include_usage": True}, {"include_usage": False}])
async def test_usage_is_asked_for_by_the_client_alone(
    options: dict[str, bool] | None, worker: FakeWorker, router: RunningRouter
) -> None:
    """Usage chunks used to get lost, to be forced on, or to have choices that are not empty."""
    usage = {
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }

    async def script(request: Request, wire: Wire) -> None:
        asked = (request.json().get("stream_options") or {}).get("include_usage")
        await wire.stream(sse(delta(content="a"), *([usage] if asked else [])))

    worker.script = script
    body = chat(stream=True) | ({} if options is None else {"stream_options": options})
    response = await router.post(body)
    assert worker.requests[0].json() == body
    asked = bool(options and options["include_usage"])
    assert response.body == b"".join(sse(delta(content="a"), *([usage] if asked else [])))
    assert (await router.line())["prompt_tokens"] == (7 if asked else None)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_length_is_kept(encoding: str, worker: FakeWorker, router: RunningRouter) -> None:
    """Whole answers keep their length and every byte."""
    body = bytes(range(256)) * 4000

    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(200, [("Content-Encoding", encoding)], body)

    worker.script = script
    response = await router.post(chat())
    assert response.body == body
    assert response.header("content-length") == str(len(body))
    assert response.header("content-encoding") == encoding


# -- clients that do not keep up ---------------------------------------------------------------


def endless(event: bytes) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        while True:
            await wire.chunk(event)

    return script


def counted(events: int, event: bytes) -> Script:
    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(event for _ in range(events))

    return script


@BOTH
async def test_backpressure(
    configure: Callable[..., Any], worker: FakeWorker, start_router: StartRouter
) -> None:
    """A client that does not read slows its worker down; nothing piles up in the router; it goes on where it was."""
    router = await start_router(worker, configure=configure)
    event = b"data: " + b"y" * 32_000 + b"\n\n"
    total = 1500
    worker.script = counted(total, event)
    async with router.connect(receive_buffer=16_384) as client, asyncio.timeout(20):
        await client.post(CHAT, chat(stream=True))
        await worker.received_count(1)
        wire = worker.requests[0].wire
        await eventually(lambda: wire.stalled)
        await _steady(lambda: wire.written)
        assert wire.written < 24 * MIB, "the worker was not slowed down"
        assert router.buffered < MIB
        response = await client.head()
        size = sum([len(piece) async for piece in client.chunks(response)])
    assert size == total * len(event)


async def _steady(value: Callable[[], int]) -> None:
    """Wait until `value` does not change any more."""
    before = -1
    while value() != before:
        before = value()
        await asyncio.sleep(0.1)


async def test_backpressure_is_per_client(worker: FakeWorker, router: RunningRouter) -> None:
    """One client that does not read does not slow the others down."""
    worker.script = endless(b"data: " + b"y" * 32_000 + b"\n\n")
    async with router.connect(receive_buffer=16_384) as slow:
        await slow.post(CHAT, chat(stream=True))
        await worker.received_count(1)
        await eventually(lambda: worker.requests[0].wire.stalled)
        worker.script = streams(*sse({"n": 1}))
        started = perf_counter()
        assert (await router.post(chat(stream=True))).complete
        assert perf_counter() - started < 1.0


@BOTH
async def test_many_answers_to_a_pipelining_client_that_does_not_read(
    configure: Callable[..., Any], worker: FakeWorker, start_router: StartRouter
) -> None:
    """Answers that each fit a buffer add up: the next one must not start while the client reads none."""
    router = await start_router(worker, configure=configure)
    answer, count = b"z" * 30_000, 1000

    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(200, [], answer)

    worker.script = script
    async with router.connect(receive_buffer=16_384) as client, asyncio.timeout(20):
        await client.send(request("POST", CHAT, b"{}") * count)
        await worker.received_count(5)
        await _steady(lambda: len(worker.requests))
        assert router.buffered < 2 * MIB
        for _ in range(count):
            response = await client.response()
            assert response.body == answer


async def test_memory_of_many_streams_is_bounded(worker: FakeWorker, router: RunningRouter) -> None:
    """Routers that gather streams for callbacks grow with every long answer."""
    event = b"data: " + b"y" * 16_000 + b"\n\n"
    streams_count, each = 40, 120
    worker.script = counted(each, event)
    before = _resident_bytes()
    peak = 0

    async def one() -> int:
        nonlocal peak
        size = 0
        async with router.connect() as client:
            await client.post(CHAT, chat(stream=True))
            response = await client.head()
            async for piece in client.chunks(response):
                size += len(piece)
                response.pieces.clear()
                peak = max(peak, router.buffered)
        return size

    sizes = await asyncio.gather(*(one() for _ in range(streams_count)))
    assert sizes == [each * len(event)] * streams_count
    assert peak < streams_count * MIB
    grown = _resident_bytes() - before
    assert grown < 60 * MIB, f"{grown} of {sum(sizes)} bytes are still here"


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


async def test_what_is_kept_of_an_answer_is_bounded(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """Usage at the end of a long answer is still found."""
    filler = [b"data: " + json.dumps(delta(content="x" * 5000)).encode() + b"\n\n"] * 400
    usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 400}}
    await _streamed(worker, router, *filler, *sse(usage))
    line = await router.line()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 400)
