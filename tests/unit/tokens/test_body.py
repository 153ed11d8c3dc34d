"""From a body to its prompt, as vLLM reads it."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.tokens.body import merged, read
from router.tokens.prompt import ChatPrompt, IdsPrompt, Inexact, Reason, TextPrompt, Truncation
from tests.unit.support import chat, request

CHAT, TEXT, GENERATE = "/v1/chat/completions", "/v1/completions", "/inference/v1/generate"


def why(body: Any, path: str = CHAT) -> Reason:
    """The reason why `body` has no prompt."""
    with pytest.raises(Inexact) as raised:
        read(request(body, path=path))
    return raised.value.reason


def read_chat(**fields: Any) -> ChatPrompt:
    prompt = read(request(chat("hi", **fields)))
    assert isinstance(prompt, ChatPrompt)
    return prompt


def test_a_chat_is_answered_and_gets_no_special_tokens_by_default() -> None:
    assert read_chat() == ChatPrompt(
        "m",
        [{"role": "user", "content": "hi"}],
        None,
        {"add_generation_prompt": True, "continue_final_message": False},
        special=False,
    )


def test_a_text_gets_special_tokens_by_default() -> None:
    asked = request({"model": "m", "prompt": "hi"}, path=TEXT)
    assert read(asked) == TextPrompt("m", "hi", special=True)


def test_members_of_tools_stand_in_the_engines_order_and_unknown_ones_are_dropped() -> None:
    tool = {
        "x": 1,
        "function": {"parameters": {"z": 1, "a": None}, "y": 2, "name": "f"},
        "type": "function",
    }
    (plain,) = read_chat(tools=[tool]).tools or []
    assert list(plain) == ["type", "function"]
    assert list(plain["function"].items()) == [
        ("name", "f"),
        ("description", None),
        ("parameters", {"z": 1, "a": None}),
    ]


def test_a_tool_that_is_loaded_late_says_so_twice() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "strict": False},
        "defer_loading": True,
    }
    (plain,) = read_chat(tools=[tool]).tools or []
    assert plain["defer_loading"] is plain["function"]["defer_loading"] is True
    assert plain["function"]["strict"] is False


def test_template_arguments_come_from_the_request_and_its_own_fields() -> None:
    prompt = read_chat(
        chat_template_kwargs={"x": 1, "documents": [], "add_generation_prompt": False},
        documents=[{"title": "t", "text": "b"}],
        reasoning_effort="none",
    )
    assert prompt.arguments == {
        "x": 1,
        "documents": [{"title": "t", "text": "b"}],
        "add_generation_prompt": True,
        "continue_final_message": False,
        "reasoning_effort": "none",
        "enable_thinking": False,
    }


def test_a_request_that_says_whether_to_think_is_believed() -> None:
    prompt = read_chat(chat_template_kwargs={"enable_thinking": False}, reasoning_effort="high")
    assert prompt.arguments["enable_thinking"] is False


def test_null_and_auto_set_nothing() -> None:
    assert merged({"a": 1, "b": 2}, {"a": None, "b": "auto", "c": 0, "d": False}) == {
        "a": 1,
        "b": 2,
        "c": 0,
        "d": False,
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chat_template": "{{ messages }}"}, Reason.OPTION),
        ({"chat_template_kwargs": {"tokenize": True}}, Reason.OPTION),
        ({"chat_template_kwargs": {"tools": []}}, Reason.OPTION),
        ({"kv_transfer_params": {"prompt_token_ids": [1]}}, Reason.OPTION),
        ({"truncate_prompt_tokens": -1}, Reason.OPTION),
        ({"truncate_prompt_tokens": 0}, Reason.OPTION),
        ({"truncate_prompt_tokens": "5"}, Reason.UNREADABLE),
        ({"truncation_side": "middle"}, Reason.UNREADABLE),
        ({"messages": []}, Reason.UNREADABLE),
        ({"messages": "hi"}, Reason.UNREADABLE),
        ({"messages": ["hi"]}, Reason.UNREADABLE),
        ({"tools": []}, Reason.UNREADABLE),
        ({"tools": [{"type": "web_search"}]}, Reason.UNREADABLE),
        ({"documents": ["d"]}, Reason.UNREADABLE),
        ({"add_generation_prompt": "yes"}, Reason.UNREADABLE),
    ],
)
def test_a_chat_that_could_only_be_guessed_is_not_told(
    fields: dict[str, Any], reason: Reason
) -> None:
    assert why(chat("hi", **fields)) is reason


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [([1, 2, 3], [1, 2, 3]), ([[7, 8]], [7, 8])],
)
def test_a_prompt_of_token_ids_is_taken_as_it_is(prompt: Any, ids: list[int]) -> None:
    read_ids = read(request({"model": "m", "prompt": prompt}, path=TEXT))
    assert isinstance(read_ids, IdsPrompt)
    assert list(read_ids.ids) == ids


def test_a_prompt_of_token_ids_is_truncated_where_the_tokenizer_would() -> None:
    body = {"model": "m", "prompt": [1, 2, 3], "truncate_prompt_tokens": 2}
    prompt = read(request(body, path=TEXT))
    assert isinstance(prompt, IdsPrompt)
    assert list(prompt.ids) == [2, 3]


def test_a_list_of_one_text_is_that_text() -> None:
    body = {"prompt": ["hi"], "add_special_tokens": False, "truncate_prompt_tokens": 3}
    assert read(request(body, path=TEXT)) == TextPrompt(
        None, "hi", special=False, truncation=Truncation(3)
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, Reason.UNREADABLE),
        ({"prompt": ""}, Reason.UNREADABLE),
        ({"prompt": []}, Reason.UNREADABLE),
        ({"prompt": [1, "a"]}, Reason.UNREADABLE),
        ({"prompt": [-1]}, Reason.UNREADABLE),
        ({"prompt": [2**32]}, Reason.UNREADABLE),
        ({"prompt": {"text": "hi"}}, Reason.UNREADABLE),
        ({"prompt": ["a", "b"]}, Reason.SEVERAL),
        ({"prompt": [[1], [2]]}, Reason.SEVERAL),
        ({"prompt": "a", "suffix": "b"}, Reason.OPTION),
        ({"prompt": "a", "prompt_embeds": "aGk="}, Reason.MEDIA),
    ],
)
def test_a_text_that_could_only_be_guessed_is_not_told(
    fields: dict[str, Any], reason: Reason
) -> None:
    assert why({"model": "m", **fields}, TEXT) is reason


def test_tokens_that_were_rendered_elsewhere_are_taken() -> None:
    prompt = read(request({"token_ids": [5, 6], "sampling_params": {}}, path=GENERATE))
    assert isinstance(prompt, IdsPrompt)
    assert list(prompt.ids) == [5, 6]


def test_tokens_with_media_between_them_are_not() -> None:
    body = {"token_ids": [5, 6], "features": {"mm_hashes": {"image": ["x"]}}}
    assert why(body, GENERATE) is Reason.MEDIA
    assert why({"token_ids": [5], "content_parts": [{}]}, GENERATE) is Reason.MEDIA


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/embeddings"])
def test_other_endpoints_prompts_are_not_rendered(path: str) -> None:
    assert why(chat("hi"), path) is Reason.ENDPOINT


@given(st.binary(max_size=200), st.sampled_from([CHAT, TEXT, GENERATE]))
def test_any_body_is_read_or_refused(body: bytes, path: str) -> None:
    with contextlib.suppress(Inexact):
        read(request(body, path=path))
