"""What a worker answers arrives as it was written."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.component.harness import CHAT, RunningRouter, chat
from tests.fakes.client import Response
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.field.support import delta, events


async def _streamed(worker: FakeWorker, router: RunningRouter, *pieces: bytes) -> Response:
    """What comes of a stream that is sent in these pieces."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(pieces, delay_s=0.005)

    worker.script = script
    answer = await router.post(chat(stream=True))
    assert answer.complete
    assert answer.body == b"".join(pieces)
    return answer


@pytest.mark.parametrize("place", [1, 2, 3])
async def test_characters_cut_apart(place: int, worker: FakeWorker, router: RunningRouter) -> None:
    """utf8-split: a character whose bytes come in two pieces arrives as a replacement character."""
    event = 'data: {"t": "\u4f60\U0001f600"}\n\n'.encode()
    start = event.index("\u4f60".encode()) + place
    answer = await _streamed(worker, router, event[:start], event[start:], b"data: [DONE]\n\n")
    assert "\ufffd" not in answer.body.decode()


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_error_instead_of_a_stream(
    status: int, worker: FakeWorker, router: RunningRouter
) -> None:
    """error-body-in-stream: a worker's error for a request that streams is passed on as a 200."""
    error = {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": status}}

    async def refuses(request: Request, wire: Wire) -> None:
        await wire.json(error, status)

    worker.script = refuses
    answer = await router.post(chat(stream=True))
    assert (answer.status, answer.json()) == (status, error)
    assert answer.header("content-type") == "application/json"


async def test_length_fits_the_body(worker: FakeWorker, router: RunningRouter) -> None:
    """content-length-stale: the worker's length is passed on with a body that is another one."""
    body = json.dumps({"error": "x" * 40}).encode()

    async def refuses(request: Request, wire: Wire) -> None:
        await wire.reply(400, [("Content-Type", "application/json")], body)

    worker.script = refuses
    async with router.connect() as client:
        for _ in range(2):  # a wrong length would spoil the second one
            answer = await client.call(CHAT, chat())
            assert answer.header("content-length") == str(len(body))
            assert (answer.status, answer.body) == (400, body)


async def test_length_of_what_the_router_says_itself(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """content-length-stale: an answer of the router's own in place of the worker's has a length of its own."""

    async def breaks_off(request: Request, wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        await asyncio.sleep(0.02)
        wire.reset()

    async def garbage(request: Request, wire: Wire) -> None:
        await wire.raw(b"SMTP 60\r\n\r\n")

    worker.script = garbage
    async with router.connect() as client:
        answer = await client.call(CHAT, chat())
        assert (answer.status, answer.complete) == (502, True)
        assert answer.header("content-length") == str(len(answer.body))
    worker.script = breaks_off
    answer = await router.post(chat())
    assert not answer.complete or answer.header("content-length") == str(len(answer.body))


@pytest.mark.parametrize("accepted", [None, "gzip, br", "identity"])
async def test_compressed_answer(
    accepted: str | None, worker: FakeWorker, router: RunningRouter
) -> None:
    """gzip-mislabel: an answer is unpacked on the way and still labelled as packed."""
    packed = gzip.compress(b'{"packed": true}' * 20)

    async def script(request: Request, wire: Wire) -> None:
        await wire.reply(
            200, [("Content-Type", "application/json"), ("Content-Encoding", "gzip")], packed
        )

    worker.script = script
    headers = [] if accepted is None else [("Accept-Encoding", accepted)]
    answer = await router.post(chat(), headers=headers)
    labelled = answer.header("content-encoding") == "gzip"
    plain = gzip.decompress(answer.body) if labelled else answer.body
    assert plain == b'{"packed": true}' * 20
    (sent,) = worker.requests
    assert sent.header("accept-encoding") == accepted


@pytest.mark.parametrize("asked", [True, False, None])
async def test_usage_is_the_client_s_wish(
    asked: bool | None, worker: FakeWorker, router: RunningRouter
) -> None:
    """usage-chunk: the chunk with the usage is missing, has choices, or comes although nobody asked for it."""
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}

    async def script(request: Request, wire: Wire) -> None:
        options = request.json().get("stream_options") or {}
        await wire.stream(sse(delta(), *([usage] if options.get("include_usage") else [])))

    worker.script = script
    fields: dict[str, Any] = {} if asked is None else {"stream_options": {"include_usage": asked}}
    found = events(await router.post(chat(stream=True, **fields)))
    assert worker.requests[0].json() == chat(stream=True, **fields)
    assert [event for event in found if "usage" in event] == ([usage] if asked else [])


async def test_tool_call_arrives_as_it_is_written(
    worker: FakeWorker, router: RunningRouter
) -> None:
    """tool-delta: the arguments of a tool call are gathered, and come as one burst or without id and name."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    read = asyncio.Event()

    async def script(request: Request, wire: Wire) -> None:
        await wire.start(200, [("Content-Type", "text/event-stream")])
        for n in range(20):
            part = call if not n else {"index": 0, "function": {"arguments": f"a{n}"}}
            await wire.chunk(sse({"choices": [{"delta": {"tool_calls": [part]}}]}, done=False)[0])
            await asyncio.wait_for(read.wait(), 5.0)  # the next one comes when this one was read
            read.clear()
        await wire.end()

    worker.script = script
    async with router.connect() as client:
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        async for _ in client.chunks(response):
            read.set()
    parts = [event["choices"][0]["delta"]["tool_calls"][0] for event in events(response)]
    assert parts[0] == call
    assert [part["function"]["arguments"] for part in parts[1:]] == [f"a{n}" for n in range(1, 20)]


ODD = {"reasoning_content": "hm", "reasoning": "hm", "x_foo": {"a": [1, None, 1.0]}}


async def test_reasoning_passes(worker: FakeWorker, router: RunningRouter) -> None:
    """reasoning-dropped: fields of an answer that the router does not know are lost."""
    wanted = [delta("", **ODD), delta("x", **ODD)]
    assert events(await _streamed(worker, router, *sse(*wanted))) == wanted
    whole = {"choices": [{"message": {"role": "assistant", "content": None, **ODD}}]}

    async def script(request: Request, wire: Wire) -> None:
        await wire.json(whole)

    worker.script = script
    assert (await router.post(chat())).json() == whole


async def test_log_probabilities_pass(worker: FakeWorker, router: RunningRouter) -> None:
    """logprobs-dropped: log probabilities and token ids are lost, of the answer or of the prompt."""
    choice = {
        "index": 0,
        "text": "x",
        "token_ids": [1, 2],
        "prompt_logprobs": [None, {"7": {"logprob": -0.1, "rank": 1, "decoded_token": "\u4f60"}}],
        "logprobs": {"content": [{"token": "x", "logprob": -1e-9, "bytes": [120], "x_new": []}]},
    }
    asked: dict[str, Any] = {"logprobs": True, "prompt_logprobs": 3, "return_token_ids": True}

    async def script(request: Request, wire: Wire) -> None:
        assert {name: request.json()[name] for name in asked} == asked
        await wire.json({"choices": [choice], "prompt_token_ids": [1]})

    worker.script = script
    answer = await router.post(chat(**asked))
    assert answer.json() == {"choices": [choice], "prompt_token_ids": [1]}
    streamed = await _streamed(worker, router, *sse({"choices": [choice]}))
    assert events(streamed) == [{"choices": [choice]}]


async def test_choices_keep_their_index(worker: FakeWorker, router: RunningRouter) -> None:
    """n-gt-1: chunks of several choices get the wrong index, or are merged."""
    wanted = [{"choices": [{"index": n % 2, "delta": {"content": str(n)}}]} for n in range(10)]
    assert events(await _streamed(worker, router, *sse(*wanted))) == wanted
    labels = {"model": "m", "endpoint": "chat_completions"}
    assert router.total("router_time_to_first_token_seconds_count", **labels) == 1
