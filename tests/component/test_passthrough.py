"""What the router does not know it passes on; what it must not reach it never asks for."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat
from tests.fakes.client import request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

PROMPTS: dict[str, Any] = {
    "vendor fields": chat(x_vendor={"a": [1, None]}, return_token_ids=True, vllm_xargs={"k": 1}),
    "template arguments": chat(chat_template_kwargs={"enable_thinking": False}),
    "content parts": {
        "model": "m",
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "what is this"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]}],
    },
    "null content": {"model": "m", "messages": [{"role": "assistant", "content": None}]},
    "tool turn": {"model": "m", "messages": [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "result"},
    ]},
    "prompt of ids": {"model": "m", "prompt": [1, 2, 3]},
    "prompts of ids": {"model": "m", "prompt": [[1, 2, 3], [4]]},
    "prompts": {"model": "m", "prompt": ["a", "b"]},
    "no prompt": {"model": "m"},
    "input ids": {"model": "m", "input_ids": [[1, 2]], "text": None},
    "numbers": {"model": "m", "prompt": "x", "seed": 12345678901234567890, "t": 1e-9},
    "wrong types": {"model": "m", "messages": 7, "stream": "yes", "prompt": {}, "tools": 1},
    "metadata of another kind": {"model": "m", "metadata": [1], "user": {"a": 1}, "conversation": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("policy", ["prefix", "session"])
async def test_body_arrives_as_it_was(
    name: str, policy: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Typed schemas drop what they do not know, and routing by prompt used to fail on other shapes."""
    workers = [await start_worker(), await start_worker()]
    router = await start_router(*workers, policy=policy)
    body = json.dumps(PROMPTS[name], indent=1).encode() + b"\n "
    for target in (CHAT, "/v1/completions", "/v1/embeddings"):
        response = await router.post(body, target)
        assert (response.status, response.json()["body"]) == (200, body.decode())


ODD_BODIES = {
    "not json": b"\x00\xff{",
    "cut off": b'{"model": "m", "messages": [{"role":',
    "not utf-8": b'{"model": "m", "prompt": "\xff\xfe"}',
    "duplicate keys": b'{"model": "nope", "model": "m"}',
    "deep": b'{"model": "m", "messages": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep object": b'{"model": "m", "x": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "deep and unfinished": b'{"model": "m", "messages": ' + b"[" * 100_000,
    "lone surrogate": b'{"model": "m", "user": "\\ud800", "prompt": "\\udfff"}',
    "byte order mark": b'\xef\xbb\xbf{"model": "m"}',
    "gzip": gzip.compress(b'{"model": "m"}', mtime=0),
    "white space": b" \n\t",
    "huge number": b'{"model": "m", "n": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("policy", ["prefix", "session"])
async def test_odd_bodies_are_the_worker_s_to_judge(
    policy: str, worker: FakeWorker, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Routing never fails a request."""
    router = await start_router(worker, await start_worker(), policy=policy)
    for name, body in ODD_BODIES.items():
        response = await router.post(body)
        assert (name, response.status) == (name, 200)
        assert response.json()["body"] == body.decode("latin-1"), name


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["messages", "prompt", "input", "stream", "tools", "user", "metadata", "session_params",
     "cache_salt", "previous_response_id", "conversation", "x"]
)  # fmt: skip


@limits(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6))
async def test_any_json(router: RunningRouter, value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    response = await router.post(body)
    assert (response.status, response.json()["body"]) == (200, body.decode())


def multipart(*fields: tuple[str, bytes, str]) -> tuple[bytes, str]:
    """A form and its content type; a field is (name, content, further parameters)."""
    parts = b"".join(
        b'--B0und"ary\r\nContent-Disposition: form-data; name="'.replace(b'"ary', b"ary")
        + name.encode()
        + b'"'
        + more.encode()
        + b"\r\n\r\n"
        + content
        + b"\r\n"
        for name, content, more in fields
    )
    return parts + b"--B0undary--\r\n", 'multipart/form-data; charset=utf-8; boundary="B0undary"'


@pytest.mark.parametrize(
    "target", ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits"]
)
async def test_form_with_a_session(
    target: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Uploads used to break routing by session, whose key is in a header; the model is a form field."""
    workers = [await start_worker(models=("whisper",)) for _ in range(3)]
    router = await start_router(*workers, await start_worker(), policy="session")
    sound = bytes(range(256)) * 1000
    form, kind = multipart(
        ("file", sound, '; filename="model"\r\nContent-Type: audio/wav'), ("model", b"whisper", "")
    )
    served = set()
    for _ in range(4):
        async with router.connect() as client:
            headers = [("Content-Type", kind), ("X-Session-Id", "s1")]
            await client.send(request("POST", target, form, headers))
            response = await client.response()
        assert response.json()["body"] == form.decode("latin-1")
        served.add(response.header("x-router-worker"))
    assert len(served) == 1
    assert all(line["model"] == "whisper" for line in router.lines())


SESSIONS = [
    ("X-Session-Id", "s"),
    ("x-session-affinity", "s"),
    ("X-Claude-Code-Session-Id", "s"),
    ("session_id", "s"),
    ("Session-Id", "s"),
    ("X-Conversation-Id", "s"),
    ("x_session_id", "s"),
]


@pytest.mark.parametrize("header", SESSIONS)
async def test_session_headers(
    header: tuple[str, str], start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Every agent has its own name for a session, written with `-` or `_`: each keeps its worker."""
    workers = [await start_worker() for _ in range(4)]
    router = await start_router(*workers, policy="session")
    spread = set()
    for session in range(12):
        fields = [(header[0], f"s{session}")]
        served = {
            (await router.post(chat(), headers=fields)).header("x-router-worker") for _ in range(3)
        }
        assert len(served) == 1
        spread |= served
    assert len(spread) > 1
    assert workers[0].requests == [] or workers[0].requests[0].all(header[0]) != []


@pytest.mark.parametrize("accept", [None, "gzip", "identity"])
async def test_compressed_answers(
    accept: str | None, worker: FakeWorker, router: RunningRouter
) -> None:
    """Passed with their encoding: decompressing and keeping the label makes them unreadable."""
    packed = gzip.compress(b'{"ok": true}')

    async def script(request: Request, wire: Wire) -> None:
        assert request.all("accept-encoding") == ([accept] if accept else [])
        await wire.reply(200, [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")], packed)

    worker.script = script
    response = await router.post(chat(), headers=[("Accept-Encoding", accept)] if accept else [])
    assert (response.body, response.header("content-encoding")) == (packed, "gzip")


ENDPOINTS = [
    "/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/embeddings", "/v1/rerank", "/rerank",
    "/v2/rerank", "/v1/score", "/score", "/classify", "/pooling", "/tokenize", "/detokenize", "/invocations",
    "/inference/v1/generate", "/v1/chat/completions/batch", "/v1/chat/completions/render", "/v1/audio/speech",
]  # fmt: skip


async def test_every_endpoint(router: RunningRouter) -> None:
    """Agents need more than chat."""
    for target in ENDPOINTS:
        response = await router.post({"model": "m"}, target)
        assert (response.status, response.json()["target"]) == (200, target)


CONTROL = [
    "/sleep", "/wake_up", "/pause", "/resume", "/reset_prefix_cache", "/reset_mm_cache",
    "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/collective_rpc", "/update_weights",
    "/abort_requests", "/inference/v1/abort_requests", "/scale_elastic_ep", "/release_kv_cache_memory",
    "/start_weight_update", "/init_weight_transfer_engine", "/server_info", "/kv_event_sources", "/load",
    "/adapters/x", "/weight_info",
]  # fmt: skip
DISGUISED = [
    "/v1/responses/../../sleep",
    "/v1/responses/..",
    "/v1/responses/../cancel",
    "/v1/responses/..%2f..%2fsleep",
    "/v1/responses/%2e%2e/cancel",
    "/v1/responses/%2e%2e%2f%2e%2e%2fsleep",
    "/v1/responses/x%2f..%2f..%2f..%2fsleep",
    "/v1/chat/completions/../../../sleep",
    "/v1/chat/completions%2f..%2f..%2f..%2fsleep",
    "/v1/chat/completions;/../sleep",
    "/./sleep",
    "/v1/%2e%2e/sleep",
    "//sleep",
    "/sleep/",
    "/sleep?level=1",
    "http://worker/sleep",
    "/v1/responses/..\\..\\sleep",
]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_control_endpoints_are_out_of_reach(
    method: str, worker: FakeWorker, router: RunningRouter
) -> None:
    """Nobody who may ask for tokens may put the fleet to sleep, whatever spelling of the path they try."""
    for target in [*CONTROL, *DISGUISED]:
        response = await router.get(target, method=method)
        assert response.status in (400, 404, 405), target
    assert [sent.target for sent in worker.requests] == []


async def test_unknown_route(router: RunningRouter) -> None:
    response = await router.post({}, "/v1/nope")
    assert response.status == 404
    error = response.json()["error"]
    assert (error["code"], error["type"]) == ("unknown_route", "invalid_request_error")
    assert "allow_paths" in error["message"]


@pytest.mark.parametrize("path", ["/chat/completions", "/embeddings", "/responses"])
async def test_a_base_url_without_its_end(path: str, router: RunningRouter) -> None:
    response = await router.post({}, path)
    message = response.json()["error"]["message"]
    assert (response.status, f"Did you mean /v1{path}?" in message) == (404, True)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/v1/chat/completions",
        "/v1/chat/completions/chat/completions",
        "/v1/embeddings/v1/embeddings",
    ],
)
async def test_a_base_url_with_too_much_at_its_end(path: str, router: RunningRouter) -> None:
    message = (await router.post({}, path)).json()["error"]["message"]
    meant = "/v1/embeddings" if "embeddings" in path else "/v1/chat/completions"
    assert f"Did you mean {meant}?" in message


async def test_allowed_paths(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, allow_paths=["/own/*", "/exact"])
    for target in ("/own/a", "/own/a/b?x=1", "/exact"):
        response = await router.post({"model": "m"}, target)
        assert (response.status, response.json()["target"]) == (200, target)
    for target in (
        "/ownx",
        "/exact/more",
        "/own",
        "/own/../sleep",
        "/own/%2e%2e/sleep",
        "/own/..%2fsleep",
    ):
        assert (await router.post({"model": "m"}, target)).status in (400, 404), target
    assert (await router.get("/exact")).status == 200
    assert {line["endpoint"] for line in router.lines()} == {"other"}


async def test_big_unknown_upload(
    worker: FakeWorker, router: RunningRouter, tmp_path: Path
) -> None:
    """Bytes of any kind and several megabytes arrive whole."""
    body = bytes(range(256)) * 20_000
    async with router.connect() as client:
        await client.send(
            request("POST", "/pooling", body, [("Content-Type", "application/x-own")])
        )
        assert (await client.response()).status == 200
    assert worker.requests[0].body == body
