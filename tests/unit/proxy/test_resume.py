"""Which streams can be gone on with, and what the next worker is asked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.proxy.resume import (
    CHAT,
    COMPLETIONS,
    Asked,
    continuation,
    resumable,
    shows_ids,
    wants_usage,
)
from router.proxy.transcript import Transcript
from tests.unit.proxy.streams import PROMPT, WITH_SILENT, Answer, Kind
from tests.unit.support import chat

ENDPOINTS: dict[str, Kind] = {CHAT: "chat", COMPLETIONS: "completions"}


def asking(endpoint: str = CHAT, **fields: Any) -> dict[str, Any]:
    """A streaming request."""
    usual = chat("hi") if endpoint == CHAT else {"model": "m", "prompt": "hi"}
    return {**usual, "stream": True, **fields}


def prepared(endpoint: str = CHAT, **fields: Any) -> Asked:
    """One that can be resumed."""
    found = resumable(endpoint, json.dumps(asking(endpoint, **fields)).encode())
    assert isinstance(found, Asked), found
    return found


def heard(endpoint: str = CHAT, tokens: int = 3) -> Transcript:
    """A stream of which the client has so many tokens."""
    transcript, kind = Transcript(shows_ids=False), ENDPOINTS[endpoint]
    events = Answer(kind).events(ids=True)
    for event in events[: tokens + (kind == "chat")]:
        transcript.take(transcript.whole(event))
    return transcript


def next_body(asked: Asked, transcript: Transcript) -> dict[str, Any]:
    body = continuation(asked, transcript)
    assert body is not None
    found: dict[str, Any] = json.loads(body)
    return found


STATEFUL: list[tuple[str, Any]] = [
    ("stop", "END"),
    ("stop", ["END"]),
    ("logprobs", True),
    ("logprobs", 3),
    ("logprobs", 0),
    ("top_logprobs", 2),
    ("prompt_logprobs", 0),
    ("prompt_logprobs", 1),
    ("echo", True),
    ("presence_penalty", 0.1),
    ("presence_penalty", -2),
    ("frequency_penalty", 1),
    ("response_format", {"type": "json_object"}),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("structured_outputs", {"regex": "a"}),
    ("guided_json", {"type": "object"}),
    ("guided_regex", "a+"),
    ("guided_choice", ["a", "b"]),
    ("guided_grammar", "root ::= a"),
    ("use_beam_search", True),
    ("best_of", 2),
    ("suffix", "end"),
    ("truncate_prompt_tokens", 5),
    ("kv_transfer_params", {"do_remote_decode": True}),
    ("continue_final_message", True),
    ("thinking_token_budget", 100),
    ("vllm_xargs", {"x": 1}),
]


class TestWhich:
    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    @pytest.mark.parametrize(("name", "value"), STATEFUL)
    def test_not_what_is_more_than_its_tokens(self, endpoint: str, name: str, value: Any) -> None:
        body = json.dumps(asking(endpoint, **{name: value})).encode()
        assert resumable(endpoint, body) == f"it uses `{name}`"

    @pytest.mark.parametrize("name", sorted({name for name, _ in STATEFUL}))
    def test_unless_it_is_not_used(self, name: str) -> None:
        prepared(COMPLETIONS, **{name: None})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("stop", []),
            ("stop", ""),
            ("logprobs", False),
            ("echo", False),
            ("presence_penalty", 0),
            ("frequency_penalty", 0.0),
            ("response_format", {"type": "text"}),
            ("best_of", 1),
            ("vllm_xargs", {}),
            ("truncate_prompt_tokens", None),
            ("n", 1),
            ("n", None),
        ],
    )
    def test_nor_if_it_is_turned_off(self, name: str, value: Any) -> None:
        prepared(COMPLETIONS, **{name: value})

    @pytest.mark.parametrize(
        "fields",
        [
            {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3},
            {"repetition_penalty": 1.1, "logit_bias": {"5": 1.0}, "bad_words": ["x"]},
            {"ignore_eos": True, "min_tokens": 2, "max_tokens": 9, "stop_token_ids": [7]},
            {"skip_special_tokens": False, "user": "me", "metadata": {"a": "b"}, "priority": 3},
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
        ],
    )
    def test_what_the_next_worker_can_be_asked_as_well(self, fields: dict[str, Any]) -> None:
        prepared(CHAT, **fields)

    @pytest.mark.parametrize("n", [2, 0, "1"])
    def test_not_several_answers(self, n: Any) -> None:
        body = json.dumps(asking(n=n)).encode()
        assert "several answers" in str(resumable(CHAT, body))

    @pytest.mark.parametrize("endpoint", ["responses", "messages", "embeddings", "score"])
    def test_not_other_endpoints(self, endpoint: str) -> None:
        assert "only chat completions" in str(resumable(endpoint, b"{}"))

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"5", b"null", b"{", b"\xff", b"[" * 10_000, b'{"a":"\xff"}']
    )
    def test_not_what_cannot_be_read(self, body: bytes) -> None:
        assert resumable(CHAT, body) == "the request cannot be read"

    @pytest.mark.parametrize(
        ("prompt", "one"),
        [
            ("hi", True),
            ([1, 2, 3], True),
            (["a", "b"], False),
            ([[1], [2]], False),
            (["a"], False),
        ],
    )
    def test_one_prompt(self, prompt: Any, one: bool) -> None:
        found = resumable(COMPLETIONS, json.dumps(asking(COMPLETIONS, prompt=prompt)).encode())
        assert isinstance(found, Asked) is one
        assert one or found == "it has several prompts"

    @pytest.mark.parametrize(
        ("messages", "text"),
        [
            ([{"role": "user", "content": "hi"}], True),
            ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], True),
            ([{"role": "assistant", "content": None, "tool_calls": []}], True),
            ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], False),
            ([{"role": "user", "content": [{"type": "text"}, {"type": "input_audio"}]}], False),
            ([{"role": "user", "content": ["hi"]}], False),
            (["hi"], False),
            ("hi", False),
            (None, False),
        ],
    )
    def test_messages_of_text(self, messages: Any, text: bool) -> None:
        found = resumable(CHAT, json.dumps(asking(messages=messages)).encode())
        assert isinstance(found, Asked) is text
        assert text or found == "its messages are more than text"


class TestFirstBody:
    def test_token_ids_are_asked_for_and_nothing_else_changes(self) -> None:
        body = b' {"model" : "m",  "messages":[], "n\\u0061me": 1.50e1 }'
        found = resumable(CHAT, body)
        assert isinstance(found, Asked)
        assert found.body == b' {"return_token_ids":true,' + body[2:]
        assert json.loads(found.body) == {**json.loads(body), "return_token_ids": True}

    def test_who_asks_for_them_is_sent_on_as_it_is(self) -> None:
        body = b'{"messages":[] , "return_token_ids" : true}'
        found = resumable(CHAT, body)
        assert isinstance(found, Asked)
        assert (found.body, shows_ids(found)) == (body, True)

    @pytest.mark.parametrize("value", [False, None, 0])
    def test_who_does_not_want_them_does_not_get_them(self, value: Any) -> None:
        found = prepared(return_token_ids=value)
        assert json.loads(found.body)["return_token_ids"] is True
        assert not shows_ids(found)

    @pytest.mark.parametrize(
        ("options", "wants"),
        [
            ({"include_usage": True}, True),
            ({"include_usage": False}, False),
            ({}, False),
            (None, False),
            (5, False),
        ],
    )
    def test_who_wants_usage(self, options: Any, wants: bool) -> None:
        assert wants_usage(prepared(stream_options=options)) is wants

    @given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4))
    def test_any_request_keeps_what_it_says(self, more: dict[str, Any]) -> None:
        body = json.dumps({**more, "messages": []}).encode()
        found = resumable(CHAT, body)
        if isinstance(found, Asked):
            said = json.loads(found.body)
            assert said.pop("return_token_ids") is True
            said.pop("return_token_ids", None)
            assert said == {k: v for k, v in json.loads(body).items() if k != "return_token_ids"}


class TestNextBody:
    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    def test_the_tokens_so_far_are_its_prompt(self, endpoint: str) -> None:
        body = next_body(prepared(endpoint, temperature=0.5), heard(endpoint))
        so_far = [*PROMPT, *Answer().ids[:3]]
        expected = asking(endpoint, temperature=0.5, return_token_ids=True)
        if endpoint == CHAT:
            expected["kv_transfer_params"] = {"prompt_token_ids": so_far}
        else:
            expected |= {"prompt": so_far, "max_tokens": 16 - 3}
        assert body == expected

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    def test_before_there_are_any_it_is_the_first_request(self, endpoint: str) -> None:
        body = next_body(prepared(endpoint, max_tokens=9), Transcript(shows_ids=False))
        assert body == asking(endpoint, max_tokens=9, return_token_ids=True)

    def test_tokens_without_text_are_made_anew(self) -> None:
        transcript = Transcript(shows_ids=False)
        answer = Answer("chat", WITH_SILENT)
        for event in answer.events(ids=True)[:4]:
            transcript.take(transcript.whole(event))
        body = next_body(prepared(max_tokens=100), transcript)
        assert body["kv_transfer_params"]["prompt_token_ids"] == [*PROMPT, 31]
        assert body["max_tokens"] == 99

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    def test_it_may_make_what_is_left(self, endpoint: str, name: str) -> None:
        asked = prepared(endpoint, **{name: 5})
        assert next_body(asked, heard(endpoint, 3))[name] == 2
        assert next_body(asked, heard(endpoint, 4))[name] == 1

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    @pytest.mark.parametrize("most", [3, 2])
    def test_or_nothing_is_left(self, name: str, most: int) -> None:
        fields: dict[str, Any] = {name: most}
        assert continuation(prepared(**fields), heard()) is None

    def test_a_chat_without_a_limit_has_none(self) -> None:
        assert "max_tokens" not in next_body(prepared(), heard())

    @pytest.mark.parametrize("fields", [{}, {"max_tokens": None}])
    def test_a_completion_without_one_has_sixteen(self, fields: dict[str, Any]) -> None:
        assert next_body(prepared(COMPLETIONS, **fields), heard(COMPLETIONS))["max_tokens"] == 13

    @pytest.mark.parametrize(("least", "left"), [(10, 7), (3, 0), (1, 0), (0, 0)])
    def test_it_must_make_what_is_left(self, least: int, left: int) -> None:
        asked = prepared(min_tokens=least, max_tokens=20)
        assert next_body(asked, heard())["min_tokens"] == left

    def test_it_draws_other_lots(self) -> None:
        """The same seed would draw those of the first tokens again."""
        assert next_body(prepared(seed=7), heard())["seed"] != 7
        assert next_body(prepared(seed=7), heard(tokens=3)) == next_body(
            prepared(seed=7), heard(tokens=3)
        ), "and the same ones each time"
        assert next_body(prepared(seed=None), heard())["seed"] is None

    @pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), 0])
    def test_its_seed_is_one_that_engines_take(self, seed: int) -> None:
        assert -(2**63) <= next_body(prepared(seed=seed), heard())["seed"] < 2**63

    def test_token_ids_are_asked_for_whatever_the_client_said(self) -> None:
        assert next_body(prepared(return_token_ids=False), heard())["return_token_ids"] is True
