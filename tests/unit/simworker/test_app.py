"""Routing, access key, CORS, bad bodies, models, metrics."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.engines.vllm import started_at_in

CHAT = {
    "messages": [
        {"role": "user", "content": "Hello there, this is more than a block of tokens, is it not?"}
    ]
}


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/v1/responses/x/other", 404, "Not Found"),
        ("GET", "/v1/chat/completions", 405, "Method Not Allowed"),
        ("POST", "/health", 405, "Method Not Allowed"),
    ],
)
async def test_unknown_routes(local: Any, method: str, path: str, status: int, detail: str) -> None:
    async with local() as worker:
        response = await worker.http.request(method, path)
    assert (response.status_code, response.json()) == (status, {"detail": detail})


@pytest.mark.parametrize(
    ("content", "kind", "param"),
    [
        (b'{"messages": [', "application/json", "body.14"),
        (b"", "application/json", "body"),
        (b"[]", "application/json", "body"),
        (b"{}", "application/json", "body.messages"),
        (b"{}", "text/plain", None),
        (b"\x1f\x8b\x08", "application/json; charset=utf-8", "body.0"),
    ],
)
async def test_bad_bodies(local: Any, content: bytes, kind: str, param: str | None) -> None:
    async with local() as worker:
        headers = {"content-type": kind}
        response = await worker.http.post("/v1/chat/completions", content=content, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "Bad Request", param)


async def test_key_guards_v1_only(local: Any) -> None:
    async with local(api_key="secret") as worker:
        refused = await worker.http.get("/v1/models")
        allowed = await worker.http.get("/v1/models", headers={"Authorization": "Bearer secret"})
        others = [
            await worker.http.get(path) for path in ("/health", "/metrics", "/version", "/load")
        ]
    assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
    assert allowed.status_code == 200
    assert {response.status_code for response in others} == {200}


async def test_cors_allows_everybody(local: Any) -> None:
    async with local(api_key="secret") as worker:
        asked = {
            "Origin": "http://a",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-y",
        }
        preflight = await worker.http.options("/v1/models", headers=asked)
        plain = await worker.http.get("/health", headers={"Origin": "http://a"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == "x-y"
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert plain.headers["access-control-allow-origin"] == "*"


async def test_models_have_vllms_card(local: Any) -> None:
    async with local(models=("base", "org/adapter"), kv_tokens=1600) as worker:
        body = (await worker.http.get("/v1/models")).json()
    base, adapter = body["data"]
    assert (base["parent"], base["max_model_len"], base["owned_by"]) == (None, 1584, "vllm")
    assert (adapter["id"], adapter["parent"], adapter["max_model_len"]) == (
        "org/adapter",
        "base",
        None,
    )
    assert base["permission"][0]["object"] == "model_permission"


async def test_metrics_are_well_formed_and_count(local: Any) -> None:
    async with local() as worker:
        for _ in range(2):
            await worker.post("/v1/chat/completions", {**CHAT, "max_tokens": 3})
        text = (await worker.http.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {
        name: family.samples[0].value
        for name, family in families.items()
        if len(family.samples) == 1
    }
    assert values["vllm:prefix_cache_queries"] > values["vllm:prefix_cache_hits"] > 0
    assert values["vllm:num_requests_running"] == values["vllm:kv_cache_usage_perc"] == 0
    info = families["vllm:cache_config_info"].samples[0].labels
    assert (info["block_size"], info["num_gpu_blocks"]) == ("16", "4096")
    ttft = {
        sample.name: sample.value for sample in families["vllm:time_to_first_token_seconds"].samples
    }
    assert ttft["vllm:time_to_first_token_seconds_count"] == 2
    assert (
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="sim-model"} 2.0'
        in text
    )


async def test_state_routes(local: Any) -> None:
    async with local() as worker:
        assert (await worker.http.get("/is_sleeping")).json() == {"is_sleeping": False}
        assert (await worker.http.post("/sleep?level=2")).json() == {
            "status": "sleeping",
            "level": 2,
        }
        assert (await worker.http.get("/is_sleeping")).json() == {"is_sleeping": True}
        text = (await worker.http.get("/metrics")).text
        assert 'sleep_state="discard_all"} 1.0' in text
        assert (await worker.http.post("/wake_up")).json() == {"status": "awake", "tags": None}
        assert (await worker.http.post("/pause")).json() == {"status": "paused"}
        assert (await worker.http.get("/is_paused")).json() == {"is_paused": True}
        assert (await worker.http.post("/resume")).json() == {"status": "resumed"}
        assert (await worker.http.get("/version")).json() == {"version": "0.32.0"}
        assert (await worker.http.get("/load")).json() == {"server_load": 0}
        assert (await worker.http.get("/ping")).content == b""


@pytest.mark.parametrize(
    "value", [0, -1, 1.5, True, "x", [], [1], {}, {"a": 1}, [{"a": None}], [[]], None]
)
async def test_no_field_makes_the_worker_fail(local: Any, value: Any) -> None:
    """Whatever a field holds, the answer is 200 or an error object, never a broken stream."""
    fields = (
        "messages", "prompt", "input", "tools", "tool_choice", "stop", "n", "max_tokens", "stream_options", "system",
        "logprobs", "cache_salt", "instructions", "tokens", "dimensions", "model", "stop_sequences",
    )  # fmt: skip
    base = {
        **CHAT,
        "prompt": "x",
        "input": "x",
        "tokens": [65],
        "model": "sim-model",
        "max_tokens": 2,
    }
    paths = (
        "chat/completions",
        "completions",
        "messages",
        "messages/count_tokens",
        "responses",
        "embeddings",
    )
    async with local(time_scale=0.001) as worker:
        for path in (*(f"/v1/{path}" for path in paths), "/tokenize", "/detokenize"):
            for name in fields:
                response = await worker.post(path, {**base, name: value})
                assert response.status_code in (200, 400, 404), (path, name, response.text)
        assert not worker.worker.engine.scheduler.running


async def test_when_it_began(local: Any) -> None:
    """By that a router tells that a worker was started anew and holds nothing any more."""
    before = datetime.now(UTC).timestamp()
    async with local() as worker:
        first = started_at_in((await worker.http.get("/metrics")).content)
    async with local() as worker:
        second = started_at_in((await worker.http.get("/metrics")).content)
    assert first is not None
    assert second is not None
    assert before <= first < second
