"""Chat completions in vLLM's shapes."""

import json
from typing import Any

import pytest

from router.simworker.generate import Generator

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hello there, dear worker, how do you do on this fine day?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


async def test_whole_answer(local: Any) -> None:
    async with local() as worker:
        response = await worker.post(
            PATH, {"messages": HI, "max_tokens": 5}, **{"X-Request-Id": "r1"}
        )
        body = response.json()
    assert response.headers["x-request-id"] == "r1"
    assert (body["id"], body["object"], body["model"]) == (
        "chatcmpl-r1",
        "chat.completion",
        "sim-model",
    )
    [choice] = body["choices"]
    assert len(choice["message"]["content"]) == 20
    assert choice["finish_reason"] == "length"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    assert usage["prompt_tokens_details"] == {
        "cached_tokens": 0,
        "created_cache_tokens": usage["prompt_tokens"] // 16 * 16,
        "multimodal_tokens": None,
    }


async def test_answers_are_deterministic_and_the_second_is_cached(local: Any) -> None:
    async with local() as worker:
        answers = [(await worker.post(PATH, {"messages": HI})).json() for _ in range(2)]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["choices"][0]["finish_reason"] == "stop"
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    prompt = answers[0]["usage"]["prompt_tokens"]
    assert cached == [0, (prompt - 1) // 16 * 16]


async def test_chunks_come_in_vllms_order(local: Any) -> None:
    async with local(time_scale=0.2) as worker:
        body = {"messages": HI, "max_tokens": 3, "stream_options": {"include_usage": True}}
        events = await worker.events(PATH, body)
    assert events[-1] == (None, "[DONE]")
    first, *middle, last, usage = [value for _, value in events[:-1]]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in (*middle, last)).strip()
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert set(usage["usage"]["prompt_tokens_details"]) == {"cached_tokens", "created_cache_tokens"}
    assert "usage" not in first


async def test_continuous_usage(local: Any) -> None:
    async with local() as worker:
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = await worker.events(
            PATH, {"messages": HI, "max_tokens": 3, "stream_options": options}
        )
    assert all("usage" in value for _, value in events[:-1])


async def test_stream_of_two_choices_with_logprobs(local: Any) -> None:
    async with local() as worker:
        body = {"messages": HI, "max_tokens": 4, "n": 2, "logprobs": True, "top_logprobs": 1}
        events = await worker.events(PATH, body)
    for index in (0, 1):
        mine = [
            value["choices"][0] for _, value in events[:-1] if value["choices"][0]["index"] == index
        ]
        assert mine[0]["delta"]["role"] == "assistant"
        assert sum(len(choice["logprobs"]["content"]) for choice in mine[1:]) == 4
        assert mine[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "weather"}}, "stop"),
    ],
)
async def test_a_forced_tool_call(local: Any, choice: Any, reason: str) -> None:
    body = {"messages": HI, "tools": [TOOL], "tool_choice": choice}
    async with local() as worker:
        whole = (await worker.post(PATH, body)).json()["choices"][0]
        events = await worker.events(PATH, body)
    call = whole["message"]["tool_calls"][0]
    assert (whole["finish_reason"], call["function"]["name"]) == (reason, "weather")
    pieces = [value["choices"][0]["delta"] for _, value in events[1:-1]]
    calls = [call for delta in pieces for call in delta.get("tool_calls", ())]
    assert calls[0]["id"].startswith("chatcmpl-tool-")
    assert "id" not in calls[-1] or len(calls) == 1
    text = "".join(call["function"]["arguments"] for call in calls)
    assert (
        json.loads(text)
        == {"city": "value", "days": 1}
        == json.loads(call["function"]["arguments"])
    )


async def test_stop_strings_end_an_answer(local: Any) -> None:
    async with local() as worker:
        text = (await worker.post(PATH, {"messages": HI})).json()["choices"][0]["message"][
            "content"
        ]
        stop = text[10:16]
        choice = (await worker.post(PATH, {"messages": HI, "stop": [stop]})).json()["choices"][0]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"


async def test_a_limit_beyond_the_context_is_cut(local: Any) -> None:
    async with local(max_model_len=100) as worker:
        usage = (await worker.post(PATH, {"messages": HI, "max_tokens": 100})).json()["usage"]
    assert usage["total_tokens"] == 100


async def test_salts_and_adapters_do_not_share_the_cache(local: Any) -> None:
    async with local(models=("sim-model", "adapter")) as worker:
        for extra in ({}, {"cache_salt": "a"}, {"model": "adapter"}):
            for warm in (False, True):
                body = {"messages": HI, "max_tokens": 1, **extra}
                usage = (await worker.post(PATH, body)).json()["usage"]
                assert bool(usage["prompt_tokens_details"]["cached_tokens"]) is warm


@pytest.mark.parametrize(
    ("change", "status", "kind", "param"),
    [
        ({"model": "nope"}, 404, "NotFoundError", "model"),
        ({"model": "nope", "stream": True}, 404, "NotFoundError", "model"),
        ({"messages": []}, 400, "BadRequestError", None),
        (
            {"messages": [{"role": "user", "content": "x" * 5000}]},
            400,
            "BadRequestError",
            "input_tokens",
        ),
        ({"max_tokens": 100_000}, 400, "BadRequestError", "max_tokens"),
        ({"stream_options": {}}, 400, "BadRequestError", "stream_options"),
        ({"stream_options": 1, "stream": True}, 400, "Bad Request", "body.stream_options"),
        ({"top_logprobs": 1}, 400, "BadRequestError", "top_logprobs"),
        ({"tool_choice": "required"}, 400, "BadRequestError", "tool_choice"),
        ({"stop": 1}, 400, "Bad Request", "body.stop.str"),
        ({"messages": [1]}, 400, "Bad Request", "body.messages"),
        ({"max_tokens": 0}, 400, "BadRequestError", "max_tokens"),
        ({"temperature": "hot"}, 400, "Bad Request", "body.temperature"),
        ({"temperature": -3}, 400, "BadRequestError", "temperature"),
        ({"n": 2, "temperature": 0}, 400, "BadRequestError", None),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "BadRequestError",
            None,
        ),
    ],
)
async def test_errors(
    local: Any, change: dict[str, Any], status: int, kind: str, param: str
) -> None:
    async with local(max_model_len=1000) as worker:
        response = await worker.post(PATH, {"messages": HI, **change})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"], error["param"]) == (
        status,
        status,
        kind,
        param,
    )


async def test_a_full_queue_is_503(local: Any) -> None:
    async with local(max_num_queued_reqs=1) as worker:
        worker.worker.engine.pause()
        engine = worker.worker.engine
        generator = Generator(worker.worker.config, engine)
        async with generator.start([[1]], "sim-model", _one_token()):
            response = await worker.post(PATH, {"messages": HI})
        assert engine.stats.rejected_requests == 1
    assert (response.status_code, response.json()["error"]["type"]) == (503, "Service Unavailable")


def _one_token() -> Any:
    from router.simworker.fields import Sampling

    return Sampling(max_tokens=1)
