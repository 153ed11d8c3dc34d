"""The worker as a process, driven by the real SDKs over real connections."""

import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

HI: Any = [{"role": "user", "content": "Hello there, dear worker, how do you do on this fine day?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }
]


def metric(url: str, name: str) -> float:
    for line in httpx2.get(f"{url}/metrics").text.splitlines():
        if line.startswith(f"vllm:{name}{{"):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(name)


def test_openai_client(served: Any) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["sim-model", "adapter"]
        answer = client.chat.completions.create(model="sim-model", messages=HI, max_tokens=5)
        chunks = list(
            client.chat.completions.create(
                model="sim-model",
                messages=HI,
                max_tokens=5,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == answer.choices[0].message.content
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens_details is not None
        assert chunks[-1].usage.prompt_tokens_details.cached_tokens
        assert client.completions.create(model="adapter", prompt="x", max_tokens=2).choices[0].text
        assert len(client.embeddings.create(model="sim-model", input=["a", "b"]).data) == 2
        response = client.responses.create(model="sim-model", input="Hello", max_output_tokens=4)
        assert client.responses.retrieve(response.id).output_text == response.output_text
        called = client.chat.completions.create(
            model="sim-model", messages=HI, tools=TOOLS, tool_choice="required"
        )
        assert called.choices[0].message.tool_calls
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nope", messages=HI)


def test_openai_stream_helpers_parse_tool_calls_and_responses(served: Any) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        with client.chat.completions.stream(
            model="sim-model", messages=HI, tools=TOOLS, tool_choice="required"
        ) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.arguments == "{}"
        with client.responses.stream(
            model="sim-model", input="Hello", max_output_tokens=4
        ) as events:
            final = list(events)[-1]
        assert final.type == "response.completed"


def test_anthropic_client(served: Any) -> None:
    with anthropic.Anthropic(base_url=served.url, api_key="none") as client:
        answer: Any = client.messages.create(model="sim-model", messages=HI, max_tokens=4)
        with client.messages.stream(model="sim-model", messages=HI, max_tokens=4) as stream:
            block: Any = stream.get_final_message().content[0]
        assert block.text == answer.content[0].text
        counted = client.messages.count_tokens(model="sim-model", messages=HI)
        used = answer.usage
        cached = (used.cache_creation_input_tokens or 0) + (used.cache_read_input_tokens or 0)
        assert counted.input_tokens == used.input_tokens + cached


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_ends_its_request(served: Any, streaming: bool) -> None:
    body = {"messages": HI, "max_tokens": 50_000, "stream": streaming}
    url = f"{served.url}/v1/chat/completions"
    if streaming:
        with httpx2.stream("POST", url, json=body) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(url, json=body, timeout=0.3)
    deadline = time.monotonic() + 10
    while metric(served.url, "num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert metric(served.url, "num_requests_running") == 0
    assert metric(served.url, "kv_cache_usage_perc") == 0


def test_sigterm_ends_answers_with_abort_and_exits_with_zero(spawn: Callable[..., Any]) -> None:
    worker = spawn()
    body = {"messages": HI, "max_tokens": 50_000, "stream": True}
    with httpx2.stream(
        "POST", f"{worker.url}/v1/chat/completions", json=body, timeout=20
    ) as response:
        lines = response.iter_lines()
        next(lines)
        assert worker.terminate() == 0
        rest = [line for line in lines if line]
    assert '"finish_reason":"abort"' in rest[-2]
    assert rest[-1] == "data: [DONE]"


def test_shutdown_timeout_lets_answers_end(spawn: Callable[..., Any]) -> None:
    worker = spawn("--shutdown-timeout", "20", "--itl-ms", "5")
    body = {"messages": HI, "max_tokens": 100, "stream": True}
    with httpx2.stream(
        "POST", f"{worker.url}/v1/chat/completions", json=body, timeout=20
    ) as response:
        lines = response.iter_lines()
        next(lines)
        assert worker.terminate() == 0
        rest = [line for line in lines if line]
    assert '"finish_reason":"length"' in rest[-2]
