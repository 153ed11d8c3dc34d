"""What a client sends reaches the worker as it was written."""

import json
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat
from tests.fakes.client import request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RENDERED: dict[str, Any] = {
    "x_vendor": {"a": [1, None, 1.50, 1e400, "\u4f60"]},
    "return_token_ids": True,
    "chat_template_kwargs": {"enable_thinking": False},
    "vllm_xargs": {"k": "v"},
}


async def test_fields_nobody_knows(worker: FakeWorker, router: RunningRouter) -> None:
    """unknown-fields: what the router's schema does not have is dropped on the way."""
    body = json.dumps(chat(**RENDERED), indent=1).replace("Infinity", "1E400").encode()
    assert (await router.post(body)).status == 200
    (sent,) = worker.requests
    assert sent.body == body
    assert sent.header("content-length") == str(len(body))


CONTENT: dict[str, tuple[str, dict[str, Any]]] = {
    "ids": ("/v1/completions", {"prompt": [1, 2, 3]}),
    "lists of ids": ("/v1/completions", {"prompt": [[1, 2, 3], [4]]}),
    "several texts": ("/v1/completions", {"prompt": ["a", "b"]}),
    "no prompt": ("/v1/completions", {}),
    "null prompt": ("/v1/completions", {"prompt": None}),
    "parts": (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}),
    "odd parts": (CHAT, {"messages": [{"role": "user", "content": [1, None, {"type": 3}]}]}),
    "no content": (CHAT, {"messages": [{"role": "assistant", "tool_calls": []}]}),
    "no messages": (CHAT, {}),
    "messages of no kind": (CHAT, {"messages": {"role": "user"}}),
    "input_ids": ("/generate", {"input_ids": [1, 2, 3]}),
    "token_ids": ("/inference/v1/generate", {"token_ids": [1, 2, 3]}),
}


@pytest.mark.parametrize("policy", ["prefix", "session", "cache_aware", "production_stack"])
@pytest.mark.parametrize("shape", CONTENT)
async def test_prompts_of_any_shape(
    shape: str, policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """content-array: a prompt that is not one text makes the routing policy fail the request."""
    workers = [await start_worker(), await start_worker()]
    router = await start_router(*workers, policy=policy)
    target, fields = CONTENT[shape]
    answer = await router.post({"model": "m", **fields}, target)
    assert answer.status == 200
    assert json.loads(answer.json()["body"]) == {"model": "m", **fields}


async def test_results_of_tools(worker: FakeWorker, router: RunningRouter) -> None:
    """tool-content-emptied: the content of a tool's message arrives empty."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"result": [1, 2]}'},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "x"}]},
    ]
    await router.post({"model": "m", "messages": messages})
    assert worker.requests[0].json()["messages"] == messages


@pytest.mark.parametrize("policy", ["prefix", "session"])
async def test_upload_with_a_session(
    policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """multipart-session: a form with a file fails or hangs where a session chooses the worker."""
    workers = [await start_worker() for _ in range(3)]
    router = await start_router(*workers, policy=policy)
    part = 'Content-Disposition: form-data; name="{}"\r\n\r\n'
    lines = [
        "--b",
        part.format("model") + "m",
        "--b",
        part.format('file"; filename="x.wav') + "\x00\xff\r\n--not-b" * 5000,
        "--b--",
        "",
    ]
    form = "\r\n".join(lines).encode("latin-1")
    fields = [("Content-Type", "multipart/form-data; boundary=b"), ("X-Session-Id", "s1")]
    async with router.connect() as client:
        for _ in range(4):
            await client.send(request("POST", "/v1/audio/transcriptions", form, fields))
            assert (await client.response()).status == 200
    sent = [each for worker in workers for each in worker.requests]
    assert [each.body for each in sent] == [form] * 4
    assert policy == "prefix" or sorted(len(w.requests) for w in workers) == [0, 0, 4]


async def test_query_and_head_requests(worker: FakeWorker, router: RunningRouter) -> None:
    """anthropic-query: a query makes the path unknown, and the HEAD requests of an agent get errors."""
    answer = await router.post(chat(max_tokens=1), "/v1/messages?beta=true&a=%2F")
    assert answer.status == 200
    assert worker.requests[0].target == "/v1/messages?beta=true&a=%2F"
    for target in ("/", "/v1/models", "/health"):
        found = await router.get(target, method="HEAD")
        assert (found.status, found.body) == (200, b"")


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/responses", "/v1/messages/count_tokens"])
async def test_agents_endpoints(target: str, worker: FakeWorker, router: RunningRouter) -> None:
    """missing-anthropic: the endpoints that agents speak are not there, or only without streams."""
    pieces = [b'event: message_start\ndata: {"type":"message_start"}\n\n', *sse({"type": "x"})]

    async def script(request: Request, wire: Wire) -> None:
        if request.json().get("stream"):
            await wire.stream(pieces)
        else:
            await wire.json({"type": "message"})

    worker.script = script
    assert (await router.post(chat(), target)).json() == {"type": "message"}
    answer = await router.post(chat(stream=True), target)
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert answer.body == b"".join(pieces)


async def test_trace_and_request_id(worker: FakeWorker, router: RunningRouter) -> None:
    """traceparent: the trace and the request's id end at the router."""
    given = [("traceparent", TRACE), ("tracestate", "v=1"), ("X-Request-Id", "mine-1")]
    answer = await router.post(chat(), headers=given)
    made = await router.post(chat())
    first, second = worker.requests
    assert (first.header("traceparent"), first.header("tracestate")) == (TRACE, "v=1")
    assert first.header("x-request-id") == answer.header("x-request-id") == "mine-1"
    assert second.header("x-request-id") == made.header("x-request-id") != "mine-1"
    assert second.header("x-request-id")


@pytest.mark.parametrize("host", ["router.example", "127.0.0.1:1", None])
async def test_worker_behind_its_name(
    host: str | None, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """host-header: a worker behind a virtual host is sent the client's Host, or none that it knows."""
    worker = await start_worker()

    async def virtual(request: Request, wire: Wire) -> None:
        await wire.json({}, 200 if request.all("host") == [f"localhost:{worker.port}"] else 421)

    worker.script = virtual
    router = await start_router(f"http://localhost:{worker.port}")
    fields = [] if host is None else [("Host", host)]
    assert (await router.post(chat(), headers=fields)).status == 200
