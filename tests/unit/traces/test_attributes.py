"""What spans say of requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prompt.endpoints import EndpointTable
from router.prompt.request import Incoming
from router.telemetry.logs import RequestLine
from router.telemetry.tracing import Attempt
from router.traces.attributes import (
    answer,
    attempted,
    gen_ai,
    http,
    provider,
    received,
    span_name,
)

TABLE = EndpointTable(["/v2/*"])


def incoming(path: bytes, method: bytes = b"POST", **headers: bytes) -> Incoming:
    endpoint = TABLE.resolve(path)
    assert endpoint is not None
    fields = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return Incoming(method, path, path, fields, b"", endpoint)


def line(**fields: Any) -> RequestLine:
    known: dict[str, Any] = {
        "ts": "",
        "request_id": "r1",
        "model": "m",
        "endpoint": "chat_completions",
        "worker": "gpu-1:8000",
        "policy": "prefix",
        "reason": "cached",
        "status": 200,
        "outcome": "ok",
        "prompt_tokens": 50,
        "completion_tokens": 5,
        "predicted_cached_tokens": 48,
        "cached_tokens": 0,
        "queue_ms": 0.0,
        "ttft_ms": 12.5,
        "duration_ms": 45.6,
        "attempts": 1,
    }
    return RequestLine(**{**known, **fields})


@pytest.mark.parametrize(
    ("path", "method", "name", "route"),
    [
        (b"/v1/chat/completions", b"POST", "POST /v1/chat/completions", "/v1/chat/completions"),
        (b"/v1/responses/resp_1", b"GET", "GET /v1/responses/{id}", "/v1/responses/{id}"),
        (b"/v1/responses/resp_1/cancel", b"POST", "POST /v1/responses/{id}/cancel", "/v1/responses/{id}/cancel"),
        (b"/v2/whatever", b"PUT", "PUT", None),
        (b"/v1/completions", b"BREW", "HTTP /v1/completions", "/v1/completions"),
    ],
)  # fmt: skip
def test_names_are_few(path: bytes, method: bytes, name: str, route: str | None) -> None:
    asked = incoming(path, method)
    assert span_name(asked) == name
    assert received(asked, line(), "http").get("http.route") == route
    assert http(asked)["url.path"] == path.decode()
    assert http(asked)["http.request.method"] == (
        "_OTHER" if method == b"BREW" else method.decode()
    )


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        (b"router:8080", "router", 8080),
        (b"router", "router", None),
        (b"[::1]:80", "::1", 80),
        (b"[::1]", "::1", None),
        (b"a:b", "a:b", None),
        (b"a:\xb2", "a:\xb2", None),
        (b"", None, None),
    ],
)
def test_whom_the_client_talks_to(host: bytes, address: str | None, port: int | None) -> None:
    found = received(incoming(b"/v1/completions", host=host, user_agent=b"c/1"), line(), "https")
    assert (found.get("server.address"), found.get("server.port")) == (address, port)
    assert (found["url.scheme"], found["user_agent.original"]) == ("https", "c/1")


def test_what_the_log_knows_is_called_as_there() -> None:
    found = received(incoming(b"/v1/completions"), line(tenant="acme"), "http")
    assert {name: value for name, value in found.items() if name.startswith("router.")} == {
        "router.request_id": "r1",
        "router.tenant": "acme",
        "router.worker": "gpu-1:8000",
        "router.policy": "prefix",
        "router.reason": "cached",
        "router.outcome": "ok",
        "router.predicted_cached_tokens": 48,
        "router.cached_tokens": 0,
        "router.queue_ms": 0.0,
        "router.attempts": 1,
        "router.resumed": 0,
    }


def test_what_is_not_known_is_left_out() -> None:
    unrouted = line(worker=None, policy="", reason="", predicted_cached_tokens=None)
    found = received(incoming(b"/v1/completions"), unrouted, "http")
    assert not {"router.worker", "router.policy", "router.reason", "router.tenant"} & set(found)


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [
        ("chat_completions", "chat"),
        ("messages", "chat"),
        ("responses", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
        ("tokenize", None),
    ],
)
def test_operations(endpoint: str, operation: str | None) -> None:
    found = gen_ai(line(endpoint=endpoint), streams=False)
    assert found.get("gen_ai.operation.name") == operation
    assert bool(found) is (operation is not None)


def test_what_clients_send_has_an_end() -> None:
    asked = incoming(b"/v2/" + b"x" * 999, user_agent=b"y" * 999, host=b"h" * 999)
    found = {
        **http(asked),
        **received(asked, line(), "http"),
        **gen_ai(line(model="z" * 999), streams=False),
    }
    for name in ("url.path", "user_agent.original", "gen_ai.request.model", "server.address"):
        assert len(str(found[name])) == 256
    found = received(incoming(b"/v2/", host=b"h" * 999 + b":80"), line(), "http")
    assert (len(str(found["server.address"])), found["server.port"]) == (256, 80)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock"),
        ("vpce-1a.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("api.openai.com", "openai"),
        ("EU.api.openai.com", "openai"),
        ("mine.openai.azure.com", "azure.ai.openai"),
        ("api.openai.com.evil.example", ""),
        ("s3.us-west-2.amazonaws.com", ""),
        ("gateway.internal", ""),
        ("127.0.0.1", ""),
    ],
)
def test_what_services_are_called(host: str, name: str) -> None:
    assert provider(host) == name
    found = gen_ai(line(), streams=False, by=name)
    assert found.get("gen_ai.provider.name", "") == name


def test_usage_and_streams() -> None:
    assert gen_ai(line(), streams=True) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.0125,
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 0,
    }
    unknown = line(model=None, prompt_tokens=None, completion_tokens=None, cached_tokens=None)
    assert set(gen_ai(unknown, streams=False)) == {"gen_ai.operation.name", "gen_ai.provider.name"}


class TestAnswer:
    def test_a_whole_one(self) -> None:
        body = (
            b'{"id": "chatcmpl-1","model":"m\xc3\xa9","choices":[{"finish_reason":"stop"},'
            b'{"finish_reason":"length"}]}'
        )
        assert answer(body, body) == {
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "mé",
            "gen_ai.response.finish_reasons": ("stop", "length"),
        }

    def test_a_stream_of_messages(self) -> None:
        head = b'event: message_start\ndata: {"message":{"id":"msg_1","model":"m"}}\n\n'
        tail = b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"}}\n\n'
        assert answer(head, tail) == {
            "gen_ai.response.id": "msg_1",
            "gen_ai.response.model": "m",
            "gen_ai.response.finish_reasons": ("end_turn",),
        }

    def test_what_a_model_wrote_is_not_taken_for_it(self) -> None:
        body = rb'{"choices":[{"text":"{\"id\":\"x\",\"model\":\"y\",\"finish_reason\":\"z\"}"}]}'
        assert answer(body, body) == {}

    @given(st.binary(max_size=200))
    def test_anything(self, body: bytes) -> None:
        answer(body, body)


def test_an_attempt() -> None:
    attempt = Attempt("gpu-1:8000#2", "gpu-1", 8000, 1.0)
    attempt.reason, attempt.cached_tokens = "cached", 48
    first = attempted(attempt, 0)
    assert first == {
        "server.address": "gpu-1",
        "server.port": 8000,
        "router.worker": "gpu-1:8000#2",
        "router.reason": "cached",
        "router.predicted_cached_tokens": 48,
    }
    attempt.cause, attempt.status, attempt.error = "refused", 503, "refused"
    assert attempted(attempt, 1) == {
        **first,
        "http.request.resend_count": 1,
        "router.retry_reason": "refused",
        "http.response.status_code": 503,
        "error.type": "refused",
    }
