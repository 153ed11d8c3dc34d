"""Anthropic's API: whole and streamed answers, tools, counting, errors."""

import json
from typing import Any

PATH = "/v1/messages"
HI = [{"role": "user", "content": "Hello there, dear worker, how do you do on this fine day?"}]
TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_whole_answer_with_cache_counts(local: Any) -> None:
    async with local() as worker:
        body = {"messages": HI, "model": "sim-model", "max_tokens": 4, "system": "Be brief."}
        first, second = [(await worker.post(PATH, body)).json() for _ in range(2)]
        counted = (await worker.post(f"{PATH}/count_tokens", body)).json()["input_tokens"]
    assert (first["type"], first["role"], first["stop_reason"]) == (
        "message",
        "assistant",
        "max_tokens",
    )
    for usage in (first["usage"], second["usage"]):
        parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        assert sum(usage[part] for part in parts) == counted
    assert first["usage"]["cache_creation_input_tokens"] == counted // 16 * 16
    assert second["usage"]["cache_read_input_tokens"] == (counted - 1) // 16 * 16


async def test_stream_order(local: Any) -> None:
    async with local() as worker:
        events = await worker.events(PATH, {"messages": HI, "model": "sim-model", "max_tokens": 4})
    names = [name for name, _ in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}
    assert all(name == value["type"] for name, value in events)
    assert events[-2][1]["usage"]["output_tokens"] == 4


async def test_forced_tool_use(local: Any) -> None:
    async with local() as worker:
        body = {
            "messages": HI,
            "model": "sim-model",
            "max_tokens": 100,
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
        }
        whole = (await worker.post(PATH, body)).json()
        events = await worker.events(PATH, body)
    assert whole["stop_reason"] == "tool_use"
    assert whole["content"][0]["input"] == {"city": "value"}
    pieces = [
        value["delta"]["partial_json"] for name, value in events if name == "content_block_delta"
    ]
    assert json.loads("".join(pieces)) == {"city": "value"}


async def test_errors_have_this_apis_shape(local: Any) -> None:
    async with local() as worker:
        response = await worker.post(PATH, {"messages": HI, "max_tokens": 1, "model": "nope"})
        missing = await worker.post(PATH, {"messages": HI, "model": "sim-model"})
    assert (response.status_code, response.json()["type"]) == (404, "error")
    assert response.json()["error"]["type"] == "NotFoundError"
    assert missing.json()["error"]["param"] == "body.max_tokens"
