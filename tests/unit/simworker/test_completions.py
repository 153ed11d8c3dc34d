"""Completions: every form of prompt, several choices, streams."""

from typing import Any

import pytest

PATH = "/v1/completions"


@pytest.mark.parametrize(
    ("prompt", "choices", "tokens"),
    [
        ("one two", 1, 2),
        (["one two", "three"], 2, 4),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
    ],
)
async def test_forms_of_prompt(local: Any, prompt: Any, choices: int, tokens: int) -> None:
    async with local() as worker:
        body = (await worker.post(PATH, {"prompt": prompt, "max_tokens": 2, "n": 2})).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(2 * choices))
    assert body["usage"]["prompt_tokens"] == tokens
    assert body["usage"]["completion_tokens"] == 4 * choices
    assert body["usage"]["prompt_tokens_details"]["created_cache_tokens"] is None


async def test_default_limit_is_sixteen(local: Any) -> None:
    async with local() as worker:
        body = (await worker.post(PATH, {"prompt": "x"})).json()
    assert body["usage"]["completion_tokens"] == 16


async def test_stream(local: Any) -> None:
    async with local(time_scale=0.2) as worker:
        body = {"prompt": "x", "max_tokens": 3, "stream_options": {"include_usage": True}}
        events = await worker.events(PATH, body)
    *chunks, usage = [value for _, value in events[:-1]]
    assert events[-1] == (None, "[DONE]")
    assert len("".join(chunk["choices"][0]["text"] for chunk in chunks)) == 12
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_echo_logprobs_and_token_ids(local: Any) -> None:
    async with local() as worker:
        body = {
            "prompt": "abcdefgh",
            "max_tokens": 2,
            "echo": True,
            "logprobs": 1,
            "return_token_ids": True,
        }
        choice = (await worker.post(PATH, body)).json()["choices"][0]
    assert choice["text"].startswith("abcdefgh")
    assert choice["logprobs"]["text_offset"] == [0, 4, 8, 12]
    assert len(choice["token_ids"]) == len(choice["prompt_token_ids"]) == 2


@pytest.mark.parametrize("prompt", [None, {}, [], [1, "a"], "", [1 << 40], [-1]])
async def test_bad_prompts(local: Any, prompt: Any) -> None:
    async with local() as worker:
        response = await worker.post(PATH, {"prompt": prompt})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400
