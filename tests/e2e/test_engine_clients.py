"""The official clients work through the router with nothing but their base URL changed."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from openai import AsyncOpenAI, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionToolParam

from tests.e2e.harness import MODEL, Router

pytestmark = pytest.mark.engine

PROMPT = "Tell me about prefix caches."
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def openai(engine_router: Router) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{engine_router.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_openai(engine_router: Router) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{engine_router.url}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def anthropic(engine_router: Router) -> Iterator[Anthropic]:
    with Anthropic(base_url=engine_router.url, api_key="none", max_retries=0) as client:
        yield client


def ask_chat(**more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 8,
        "temperature": 0,
    } | more


# A grammar makes even random weights call the tool; sampling gets them out of the blanks it allows.
CALL_THE_TOOL = {"tools": [WEATHER], "temperature": 1, "seed": 1, "max_tokens": 1000}


def test_openai_lists_the_models(openai: OpenAI) -> None:
    listed = [model.id for model in openai.models.list()]
    assert listed == [MODEL]
    assert openai.models.retrieve(MODEL).owned_by == "vllm"


def test_openai_chat(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(**ask_chat())
    assert answer.model == MODEL
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_openai_chat_stream_says_the_same(openai: OpenAI) -> None:
    whole = openai.chat.completions.create(**ask_chat()).choices[0].message.content
    stream = openai.chat.completions.create(
        **ask_chat(stream=True, stream_options={"include_usage": True})
    )
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole
    assert chunks[-1].usage.completion_tokens == 8


def test_openai_tool_call(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(**ask_chat(**CALL_THE_TOOL, tool_choice="required"))
    calls = answer.choices[0].message.tool_calls
    assert calls
    call = calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in {"Oslo", "Rome"}


def test_openai_tool_call_stream(openai: OpenAI) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    with openai.chat.completions.stream(**ask_chat(**CALL_THE_TOOL, tool_choice=named)) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls
    assert json.loads(calls[0].function.arguments)["city"] in {"Oslo", "Rome"}


def test_openai_completion(openai: OpenAI) -> None:
    request: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    whole = openai.completions.create(**request)
    said = "".join(
        chunk.choices[0].text for chunk in openai.completions.create(**request, stream=True)
    )
    assert said == whole.choices[0].text


def test_openai_responses(openai: OpenAI) -> None:
    request: dict[str, Any] = {
        "model": MODEL,
        "input": PROMPT,
        "max_output_tokens": 16,
        "temperature": 0,
    }
    whole = openai.responses.create(**request)
    assert whole.output_text
    events = list(openai.responses.create(**request, stream=True))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == whole.output_text
    assert events[-1].type == "response.completed"


def test_openai_finds_stored_responses_where_they_are(openai: OpenAI) -> None:
    request: dict[str, Any] = {"model": MODEL, "max_output_tokens": 16, "temperature": 0}
    made = [openai.responses.create(**request, input=f"{PROMPT} {i}") for i in range(6)]
    assert [openai.responses.retrieve(one.id).output_text for one in made] == [
        one.output_text for one in made
    ]


def test_openai_error_is_the_clients_exception(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="nobody") as caught:
        openai.chat.completions.create(**ask_chat(model="nobody"))
    assert caught.value.param == "model"


async def test_async_openai_chat(async_openai: AsyncOpenAI) -> None:
    answer = await async_openai.chat.completions.create(**ask_chat())
    assert answer.choices[0].message.content


async def test_async_openai_chat_stream(async_openai: AsyncOpenAI) -> None:
    stream = await async_openai.chat.completions.create(**ask_chat(stream=True))
    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said)


def test_anthropic_message(anthropic: Anthropic) -> None:
    request: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": PROMPT}],
        "extra_body": {"temperature": 0},
    }
    whole = anthropic.messages.create(**request)
    assert whole.usage.output_tokens == 8
    with anthropic.messages.stream(**request) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_anthropic_counts_tokens(anthropic: Anthropic) -> None:
    counted = anthropic.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": PROMPT}]
    )
    assert counted.input_tokens > 5
