"""Counting and reading answers without parsing them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.proxy.sse import (
    NO_USAGE,
    Usage,
    announcements,
    failure_in,
    response_id_in,
    token_events,
    usage_in,
)

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def counts(usage: Usage) -> tuple[int | None, int | None, int | None]:
    return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (TOKEN, 1),
        (TOKEN * 3, 3),
        (TOKEN + DONE, 1),
        (DONE, 0),
        (b": keep-alive\n\n", 0),
        (b"event: ping\n\n", 0),
        (b'event: content_block_delta\ndata: {"type":"x"}\n\n', 1),
    ],
)
def test_events_are_counted_by_their_data_lines(data: bytes, count: int) -> None:
    assert token_events(data) == count


@given(st.lists(st.sampled_from([TOKEN, ROLE, b": ping\n\n"]), max_size=8), st.booleans())
def test_events_add_up_whatever_the_reads(events: list[bytes], done: bool) -> None:
    stream = [*events, DONE] if done else events
    assert sum(map(token_events, stream)) == sum(event != b": ping\n\n" for event in events)
    assert token_events(b"".join(stream)) == sum(map(token_events, stream))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (ROLE, 1),
        (TOKEN, 0),
        (ROLE + TOKEN, 0),
        (b"", 0),
        (b'data: {"choices":[{"delta":{"role":"assistant","content":"Hi"}}]}\n\n', 0),
        (b"event: response.created\ndata: {}\n\nevent: response.in_progress\ndata: {}\n\n", 2),
        (b"event: response.output_item.added\r\ndata: {}\r\n\r\n", 1),
        (b"event: response.output_text.delta\ndata: {}\n\n", 0),
        (b"event: message_start\ndata: {}\n\nevent: content_block_start\ndata: {}\n\n", 2),
        (b"event: content_block_delta\ndata: {}\n\n", 0),
    ],
)
def test_events_before_the_first_token(data: bytes, count: int) -> None:
    assert announcements(data) == count


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 7, "completion_tokens": 2}, (5, 2, None)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            (5, 2, 4),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 0, "prompt_tokens_details": None},
            (5, 0, None),
        ),
        ({"prompt_tokens": 5, "total_tokens": 5}, (5, None, None)),
        ({"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 4}, (9, 2, 4)),
        (
            {
                "input_tokens": 5,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 40,
                "output_tokens": 2,
            },
            (145, 2, 40),
        ),
        (
            {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            (5, 2, 4),
        ),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_usage_in_each_family_s_words(
    usage: dict[str, Any], expected: tuple[int | None, ...], separators: tuple[str, str]
) -> None:
    document: dict[str, Any] = {
        "id": "x",
        "choices": [],
        "usage": usage,
        "system_fingerprint": None,
    }
    assert counts(usage_in(json.dumps(document, separators=separators).encode())) == expected


@pytest.mark.parametrize("tail", [b"", b"{}", b'{"usage":null}', b'"usage"', TOKEN + DONE])
def test_no_usage(tail: bytes) -> None:
    assert usage_in(tail) is NO_USAGE


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=5))
def test_the_last_usage_counts(reports: list[tuple[int, int]]) -> None:
    events = [
        {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": done}}
        for prompt, done in reports
    ]
    stream = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    assert counts(usage_in(stream + DONE)) == (*reports[-1], None)


def test_a_later_empty_usage_hides_nothing() -> None:
    stream = b'data: {"usage":{"prompt_tokens":5}}\n\ndata: {"usage":null}\n\n'
    assert usage_in(stream).prompt_tokens == 5


@given(st.text(max_size=60))
def test_what_a_model_writes_is_not_usage(text: str) -> None:
    said = text + '"usage":{"prompt_tokens":99}' + text
    event = {"choices": [{"delta": {"content": said}}], "usage": {"prompt_tokens": 5}}
    assert usage_in(json.dumps(event).encode()).prompt_tokens == 5
    assert usage_in(json.dumps({"choices": [{"text": said}]}).encode()) is NO_USAGE


def test_a_usage_cut_off_at_its_start_is_not_misread() -> None:
    assert usage_in(b'prompt_tokens":5,"completion_tokens":2}}\n\n') is NO_USAGE


@pytest.mark.parametrize("digits", [19, 100, 5000])
def test_an_absurd_number_is_no_error(digits: int) -> None:
    usage_in(b'{"usage":{"prompt_tokens":' + b"9" * digits + b',"completion_tokens":2}}')


NOISE = st.lists(
    st.binary(max_size=20)
    | st.sampled_from(
        [b"data:", b"[DONE]\n\n", b'"usage":{', b'"prompt_tokens": 1', b'"id":"resp_', b'"', b"\\"]
    ),
    max_size=12,
).map(b"".join)


@given(NOISE)
def test_noise_never_fails(noise: bytes) -> None:
    token_events(noise)
    announcements(noise)
    usage_in(noise)
    response_id_in(noise)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b'{"id":"resp_abc","object":"response"}', "resp_abc"),
        (b'event: response.created\ndata: {"response":{"id": "resp_1"}}', "resp_1"),
        (b'{"id":"chatcmpl-1"}', None),
        (b'{"id":"resp_unended', None),
        (b"", None),
    ],
)
def test_the_id_of_a_response(head: bytes, found: str | None) -> None:
    assert response_id_in(head) == found


FAILURES = [
    b'data: {"error": {"message": "EngineCore", "type": "InternalServerError", "param": null, "code": 500}}',
    b'data: {"error":{"message":"x","type":"server_error","code":"internal"}}',
    b'data:{"error":{"message":"x"}}',
    b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}',
    b'event: error\ndata: {"type": "error", "code": "server_error", "message": "x"}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"abort","stop_reason":null}]}',
    b'data: {"id":"c","choices":[{"index":0,"text":"last","finish_reason": "abort"}]}',
]
FINE = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}',
    b'data: {"choices":[{"delta":{"content":"\\"error\\": {\\"code\\": 500}"}}]}',
    b'data: {"choices":[{"delta":{"content":"data: {\\"error\\":{"}}]}',
    b'data: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"abort\\""}}]}',
    b'data: {"choices":[],"error":null}',
    b'data: {"error":null,"choices":[]}',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"aborted"}]}',
    b': {"error":{}}',
    b"event: error_free\ndata: 5",
    b"",
]
MISTAKES = [
    b'data: {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}',
    b'data: {"error":{"message":"x","type":"NotFoundError","code":404}}',
    b'event: error\ndata: {"type":"error","error":{"type": "invalid_request_error"}}',
]


class TestFailures:
    @pytest.mark.parametrize("failure", FAILURES)
    @pytest.mark.parametrize("before", [b"", *FINE])
    def test_one_is_found_where_its_data_begins(self, failure: bytes, before: bytes) -> None:
        events = b"".join(event + b"\n\n" for event in (before, failure) if event)
        at = events.index(b"data:", len(before) + 2 if before else 0)
        assert failure_in(events) == at
        assert failure_in(events + b"data: [DONE]\n\n") == at

    @pytest.mark.parametrize("events", [*FINE, *MISTAKES])
    def test_others_are_none(self, events: bytes) -> None:
        assert failure_in(events + b"\n\ndata: [DONE]\n\n") == -1

    @given(st.lists(st.sampled_from(FINE), max_size=6), st.sampled_from(FAILURES))
    def test_whatever_comes_before_it_is_kept(self, fine: list[bytes], failure: bytes) -> None:
        before = b"".join(event + b"\n\n" for event in fine)
        found = failure_in(before + failure + b"\n\n")
        assert before in (before + failure)[:found]

    @given(st.binary(max_size=60))
    def test_noise_is_none_or_within_it(self, noise: bytes) -> None:
        assert -1 <= failure_in(noise) <= len(noise)
