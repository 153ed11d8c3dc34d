"""What is read from a request, whatever its body is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from router.prompt.request import text_of
from tests.unit.support import chat, incoming, request


def test_the_fields_of_a_chat_request() -> None:
    asked = request(chat("hi", stream=True, cache_salt="s"))
    assert asked.model == "m"
    assert asked.stream
    assert asked.endpoint.name == "chat_completions"
    assert asked.separators == (b'"s"', b"", b"")
    assert asked.previous_response_id is None


@pytest.mark.parametrize("value", [False, None, "true", 1, [True], {}])
def test_only_true_streams(value: Any) -> None:
    assert not request({"stream": value}).stream


@pytest.mark.parametrize("value", [None, "", 1, ["m"], {"id": "m"}])
def test_a_model_is_a_string_or_none(value: Any) -> None:
    assert request({"model": value}).model is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"model": "m"',
        b'{"model": "m",}',
        b"{'model': 'm'}",
        b'{"model": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"\x00\x01",
        b"{" * 5000,
    ],
)
def test_what_cannot_be_understood_is_routed_without_knowledge(body: bytes) -> None:
    asked = request(body)
    assert asked.model is None
    assert not asked.stream
    assert asked.prompt == b""
    assert asked.separators == ()


@given(st.binary(max_size=300), st.sampled_from([None, b"multipart/form-data; boundary=x"]))
def test_no_body_fails_a_request(body: bytes, kind: bytes | None) -> None:
    asked = request(body, headers=[(b"content-type", kind)] if kind else [])
    assert isinstance(asked.prompt, bytes)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ),
    st.sampled_from(["model", "stream", "messages", "prompt", "input", "metadata", "cache_salt"]),
)
def test_no_value_fails_a_request(value: Any, name: str) -> None:
    asked = request({name: value})
    assert asked.prompt is not None
    assert isinstance(asked.separators, tuple)


def test_leading_space_is_no_obstacle() -> None:
    assert request(b' \r\n\t{"model": "m"}').model == "m"


def test_the_last_of_two_equal_names_counts_as_it_does_for_the_worker() -> None:
    assert request(b'{"model": "a", "model": "b"}').model == "b"


@given(
    st.lists(st.text(max_size=20), min_size=1, max_size=6),
    st.lists(st.text(max_size=20), max_size=3),
)
def test_a_conversation_s_next_turn_starts_with_this_one(turns: list[str], more: list[str]) -> None:
    assert request(chat(*turns, *more)).prompt.startswith(request(chat(*turns)).prompt)


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_longer_prompt_starts_with_the_shorter_one(start: str, rest: str) -> None:
    path = "/v1/completions"
    longer = request({"prompt": start + rest}, path=path).prompt
    assert longer.startswith(request({"prompt": start}, path=path).prompt)


def test_the_prompt_is_in_the_order_in_which_it_is_rendered() -> None:
    body = {
        "messages": [{"role": "user", "content": "q"}],
        "system": "S",
        "tools": [{"name": "t"}],
        "model": "m",
    }
    assert request(body, path="/v1/messages").prompt == (
        b'[{"name":"t"}]"S"[{"role":"user","content":"q"}'
    )


def test_sampling_parameters_are_not_part_of_the_prompt() -> None:
    assert request(chat("q", temperature=0.5, seed=1)).prompt == request(chat("q")).prompt


@pytest.mark.parametrize(
    ("path", "body", "prompt"),
    [
        ("/v1/completions", {"prompt": "abc"}, b'"abc'),
        ("/v1/completions", {"prompt": [1, 2, 3]}, b"[1,2,3"),
        ("/v1/embeddings", {"input": ["a", "b"]}, b'["a","b"'),
        ("/v1/responses", {"input": "q", "instructions": "I"}, b'"I""q'),
        ("/inference/v1/generate", {"token_ids": [1, 2]}, b"[1,2"),
        ("/generate", {"text": "abc"}, b'"abc'),
        ("/rerank", {"query": "q", "documents": ["d"]}, b'"q"["d"'),
        ("/score", {"text_1": "a", "text_2": "b"}, b'"a""b'),
    ],
)
def test_where_each_endpoint_keeps_its_prompt(
    path: str, body: dict[str, Any], prompt: bytes
) -> None:
    assert request(body, path=path).prompt == prompt


def test_the_text_format_of_a_response_is_not_its_prompt() -> None:
    body = {"input": "q", "text": {"format": {"type": "text"}}}
    assert request(body, path="/v1/responses").prompt == b'"q'


FORM = (
    b"--XyZ\r\n"
    b'Content-Disposition: form-data; name="file"; filename="model.wav"\r\n\r\n'
    b'RIFF name="model"\r\n\r\n\xff\xfe\r\n'
    b"--XyZ\r\n"
    b'content-disposition: form-data; name="model"\r\n\r\nwhisper \r\n'
    b"--XyZ--\r\n"
)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (b"multipart/form-data; boundary=XyZ", "whisper"),
        (b'Multipart/Form-Data; charset=utf-8; BOUNDARY="XyZ"', "whisper"),
        (b"multipart/form-data; boundary=other", None),
        (b"multipart/form-data", None),
        (b"application/octet-stream", None),
        (b"", None),
    ],
)
def test_the_model_of_a_form(kind: bytes, model: str | None) -> None:
    asked = request(FORM, path="/v1/audio/transcriptions", headers=[(b"content-type", kind)])
    assert asked.model == model
    assert asked.prompt == b""


def test_a_form_without_a_model_names_none() -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="model"; filename="x"\r\n\r\nm\r\n--b--'
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    assert request(body, headers=headers).model is None


def part(disposition: str, value: str = "x") -> str:
    return f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n"


@pytest.mark.parametrize(
    ("parts", "model"),
    [
        ([part("name=model", "m")], "m"),
        ([part('NAME = "Model" ', "m")], "m"),
        ([part('name="model"', "m"), part('name="file"; filename="model"')], "m"),
        ([part('name="model"', "m"), part("name=file; filename*=UTF-8''model")], "m"),
        ([part('name="model"', "m"), part('name="models"', "n")], "m"),
        ([part('name="model"', "m"), part('name="model"', "m")], "m"),
        ([part('name="model"', "m"), part('name="model"', "n")], None),
        ([part('name="model"', "m"), part("name=model", "n")], None),
        ([part('name="model"', "m"), part(r'name="mo\del"', "n")], None),
        ([part('name="model"', "m"), part("name*=utf-8''model", "n")], None),
        ([part('name="model"', "m"), part('name*0="mo"; name*1="del"', "n")], None),
        ([part('name="model"', "m"), part('name="model"; filename="x"', "n")], None),
    ],
)
def test_a_form_that_can_be_read_in_several_ways_names_none(
    parts: list[str], model: str | None
) -> None:
    """Another reader may take another value: a tenant would get a model that it may not use."""
    body = "".join([*parts, "--b--\r\n"]).encode()
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    assert request(body, headers=headers).model == model


@pytest.mark.parametrize(
    ("method", "path", "runs"),
    [
        (b"POST", "/v1/chat/completions", True),
        (b"POST", "/v1/responses", True),
        (b"POST", "/tokenize", True),
        (b"PUT", "/v2/x", True),
        (b"GET", "/version", False),
        (b"GET", "/v1/responses/resp_1", False),
        (b"POST", "/v1/responses/resp_1/cancel", False),
        (b"OPTIONS", "/v1/chat/completions", False),
    ],
)
def test_what_runs_a_model(method: bytes, path: str, runs: bool) -> None:
    assert request(path=path, method=method).runs_a_model is runs


def test_a_response_names_the_one_it_continues() -> None:
    body = {"input": "q", "previous_response_id": "resp_1"}
    assert request(body, path="/v1/responses").previous_response_id == "resp_1"


def test_headers_are_found_by_name() -> None:
    asked = incoming(headers=[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert asked.by_name == {b"a": b"3", b"b": b"2"}
    assert asked.headers[0] == (b"a", b"1")
    assert repr(asked) == "<Incoming b'POST' b'/v1/chat/completions', 0 bytes>"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", None),
        (b'""', None),
        (b'"x"', "x"),
        (json.dumps("é\n").encode(), "é\n"),
        (b"1", None),
        (b"null", None),
        (b"{broken", None),
        (b'"\xff"', None),
    ],
)
def test_text_of_raw_json(raw: bytes, text: str | None) -> None:
    assert text_of(Raw(raw)) == text


@pytest.mark.parametrize(
    ("fields", "audits"),
    [
        ({}, True),
        ({"prompt_logprobs": None, "echo": False, "logprobs": 2}, True),
        ({"echo": True}, True),
        ({"echo": True, "logprobs": None}, True),
        ({"echo": True, "logprobs": 1}, False),
        ({"prompt_logprobs": 0}, False),
        ({"prompt_logprob_token_ids": [[1]]}, False),
        ({"prompt": ["a", "b"]}, False),
        ({"prompt": [[1], [2]]}, False),
        ({"prompt": [1, 2]}, True),
    ],
)
def test_answers_that_say_how_much_of_one_prompt_was_cached(
    fields: dict[str, Any], audits: bool
) -> None:
    """Engines that compute logprobs of the prompt do not look into their cache."""
    assert request({"prompt": "hi", **fields}, path="/v1/completions").audits is audits


@pytest.mark.parametrize(
    ("fields", "mixed"),
    [
        ({"prompt": "hi"}, False),
        ({"prompt": "hi", "n": 1}, False),
        ({"prompt": "hi", "n": None}, False),
        ({"prompt": "hi", "n": 4}, True),
        ({"prompt": ["a", "b"]}, True),
        ({"prompt": [[1, 2], [3]]}, True),
        ({"prompt": [1, 2, 3]}, False),
        ({"prompt": ["a", "b"], "stream": False}, False),
        ({"prompt": "hi", "n": 4, "stream": False}, False),
    ],
)
def test_a_stream_in_which_answers_take_turns(fields: dict[str, Any], mixed: bool) -> None:
    assert request({"stream": True, **fields}, path="/v1/completions").mixed is mixed
